"""Runs the application: one uvicorn server that ends in good order.

SIGTERM, SIGINT or SIGHUP: /readyz turns 503 and new work is refused, while the socket stays open and all
admitted work is finished and answered; then the process ends with status 0, or 1 if the drain took
too long and work was lost. A second SIGTERM or SIGINT ends the process at once.

Knows signals and sockets; what is admitted, the front knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal

import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from starlette.types import ASGIApp

from dit_serve.service.errors import StartError
from dit_serve.service.front.front import Front
from dit_serve.service.front.state_metrics import StateCollector
from dit_serve.service.http.accepting import Acceptor
from dit_serve.service.http.app import create_app
from dit_serve.service.http.closing import close_after_answers
from dit_serve.service.http.connection_metrics import ConnectionCollector, full_warning
from dit_serve.service.http.connections import Bounds, Connections
from dit_serve.service.http.descriptors import raise_limit, shares
from dit_serve.service.http.ebb import give_back_after_floods
from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.http.listening import is_reached_from_outside, listen, shown, why
from dit_serve.service.http.signals import ending_signals
from dit_serve.service.settings import Settings
from dit_serve.service.telemetry.gpu_metrics import open_gpus
from dit_serve.service.telemetry.log_metrics import LogCollector
from dit_serve.service.telemetry.logs import LineWriter, set_up_logging
from dit_serve.service.telemetry.metrics import Metrics
from dit_serve.service.telemetry.metrics_app import PATH as METRICS_PATH
from dit_serve.service.telemetry.metrics_app import metrics_app
from dit_serve.service.telemetry.sampling import RefusalSampler
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.wire.messages import Configure
from dit_serve.service.workers.budget import Budget
from dit_serve.service.workers.placement import place, this_machine
from dit_serve.service.workers.worker import worker_command

ENDED_BY_SECOND_SIGNAL = 130
CLOSE_SECONDS = 5  # for clients that read their last answer slowly


def run(settings: Settings, loader: str, ignored: Sequence[str] = ()) -> int:
    """Serves until a signal; the exit status.

    Args:
        settings: checked.
        loader: import path of the function with which the worker loads a model.
        ignored: variables that look like ours and are not, to be told in the log.

    Raises:
        StartError: the address is not to be had, or the models cannot be loaded.
    """
    log = set_up_logging(settings.log_level)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, that nobody reads
    with contextlib.ExitStack() as opened:
        opened.callback(log.close)  # the last lines come before the sentence that the command line may print
        limit = raise_limit(settings.limits)
        listeners = _listen(opened, settings.host, settings.port)
        for_metrics = _listen_for_metrics(opened, settings) if settings.metrics else []
        _log_listening("listening", "listening on http://%s:%d", settings.host, listeners)
        _log_doubts(settings, listeners, ignored)
        factory = uvicorn.Config("", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(settings, loader, listeners, for_metrics, log, limit))


class _Server(uvicorn.Server):
    """uvicorn's server, with two things left to us.

    Its own handling of signals would end the process by the signal it caught; and it has all connections accepted that
    there are, whatever they cost.
    """

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self._acceptor: Acceptor | None = None
        self._ebb: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application, and to accept connections."""
        await super().startup([])
        self._acceptor = Acceptor(sockets or [], self._protocol, self._connections)
        self._ebb = asyncio.create_task(give_back_after_floods(self._connections), name="ebb")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no more, and ends what there is."""
        if self._acceptor is not None:
            self._acceptor.close()
        if self._ebb is not None:
            self._ebb.cancel()
        await super().shutdown(sockets)

    def _protocol(self) -> GuardedProtocol:
        kind: type[GuardedProtocol] = self.config.http_protocol_class  # type: ignore[assignment]
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


class _Ending:
    """What a signal does: the first drains, the second ends at once.

    A SIGHUP is never the second: a shell, the kernel and systemd send it beside another one.
    """

    def __init__(self, server: uvicorn.Server, front: Front, drain_seconds: float) -> None:
        self.status = 0
        self._server = server
        self._front = front
        self._drain_seconds = drain_seconds
        self._draining: asyncio.Task[None] | None = None
        self._is_told = False

    def on_signal(self, number: signal.Signals) -> None:
        """Takes a SIGTERM, SIGINT or SIGHUP."""
        if number != signal.SIGHUP:
            if self._is_told:
                logging.shutdown()
                os._exit(ENDED_BY_SECOND_SIGNAL)  # the worker sees its socket close and ends too
            self._is_told = True
        if self._draining is None:
            self._begin_to_drain()

    def _begin_to_drain(self) -> None:
        fields = {"event": "draining", "jobs": len(self._front.ledger)}
        logging.getLogger("dit.server").info("draining", extra={"fields": fields})
        close_after_answers(self._server.server_state, self._server.config.encoded_headers)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        is_clean = await self._front.drain(self._drain_seconds)
        self.status = 0 if is_clean else 1
        self._server.should_exit = True


async def _serve(
    settings: Settings,
    loader: str,
    listeners: list[socket.socket],
    for_metrics: list[socket.socket],
    log: LineWriter,
    limit: int,
) -> int:
    registry, tally = CollectorRegistry(), Tally()
    sampler = RefusalSampler(logging.getLogger("dit.request"))
    registry.register(LogCollector(log, sampler))
    placement, budget = place(settings, this_machine())
    _log_memory(budget)
    bounds, bounds_of_metrics = shares(settings.limits, limit, len(placement.devices))
    connections = Connections(bounds, full_warning("the service", bounds))
    registry.register(ConnectionCollector(connections))
    front = Front(
        worker_command(loader),
        configuration(settings, budget.model_cache_bytes),
        placement,
        max_queue_sequences=settings.max_queue_sequences,
        metrics=Metrics(registry),
        aliases=settings.aliases,
    )
    server = _Server(_uvicorn_config(settings, create_app(front, settings, tally), tally, connections), connections)
    ending = _Ending(server, front, settings.drain_seconds)
    for number in ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, ending.on_signal, number)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    ends: set[asyncio.Future[Any]] = {serving, front.fatal}
    async with _telling_prometheus(settings, registry, StateCollector(front, tally), for_metrics, bounds_of_metrics):
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        close_after_answers(server.server_state, server.config.encoded_headers)
        server.should_exit = True
        await serving
    if front.fatal.done():
        raise front.fatal.result()
    return ending.status


def configuration(settings: Settings, model_cache_bytes: int | None = None) -> Configure:
    """What each worker is told of the settings, and what each model may keep of modulations if they leave it open."""
    options = settings.options
    if model_cache_bytes is not None:
        options = replace(options, modulation_cache_bytes=model_cache_bytes)
    return Configure(
        models=settings.models,
        options=options,
        max_batch_sequences=settings.max_batch_sequences,
        fill_across_guidance=settings.fill_across_guidance,
        step_timeout_seconds=settings.step_timeout_seconds,
        silence_seconds=settings.silence_seconds,
    )


@contextlib.asynccontextmanager
async def _telling_prometheus(
    settings: Settings,
    registry: CollectorRegistry,
    state: StateCollector,
    listeners: list[socket.socket],
    bounds: Bounds,
) -> AsyncGenerator[None, None]:
    """Answers on the metrics' sockets for the length of a with-statement, up to the last answer of the other one."""
    if not listeners:
        yield
        return
    registry.register(state)
    ProcessCollector(namespace="dit", registry=registry)
    if (gpus := open_gpus()) is not None:
        registry.register(gpus)
    own_tally = Tally()  # Prometheus' requests are nobody's work
    connections = Connections(bounds, full_warning("the metrics' port", bounds))
    config = _uvicorn_config(settings, metrics_app(registry, gpus), own_tally, connections, lifespan="off")
    server = _Server(config, connections)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _uvicorn_config(
    settings: Settings, app: ASGIApp, tally: Tally, connections: Connections, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=guarded_protocol(settings.limits, tally, connections),
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _listen_for_metrics(open_sockets: contextlib.ExitStack, settings: Settings) -> list[socket.socket]:
    flags = "--metrics-host or --metrics-port"
    listeners = _listen(open_sockets, settings.metrics_host, settings.metrics_port, flags)
    _log_listening("metrics_listening", f"metrics at http://%s:%d{METRICS_PATH}", settings.metrics_host, listeners)
    return listeners


def _listen(
    open_sockets: contextlib.ExitStack, host: str, port: int, flags: str = "--host or --port"
) -> list[socket.socket]:
    try:
        return [open_sockets.enter_context(listener) for listener in listen(host, port)]
    except OSError as error:
        raise StartError(f"cannot listen on {shown(host)}:{port}: {why(error)}; choose another {flags}") from None


def _log_listening(event: str, text: str, host: str, listeners: Sequence[socket.socket]) -> None:
    bound = listeners[0].getsockname()[1]
    addresses = [listener.getsockname()[0] for listener in listeners]
    fields = {"event": event, "host": host, "port": bound, "addresses": addresses}
    logging.getLogger("dit.server").info(text, shown(host), bound, extra={"fields": fields})


def _log_memory(budget: Budget) -> None:
    level, fields = logging.INFO if budget.fits else logging.WARNING, {"event": "memory", **budget.fields()}
    logging.getLogger("dit.server").log(level, "memory: %s", budget.sentence(), extra={"fields": fields})


def _log_doubts(settings: Settings, listeners: Sequence[socket.socket], ignored: Sequence[str]) -> None:
    """What an operator may not have meant, and nothing is wrong with."""
    log = logging.getLogger("dit.server")
    if ignored:
        fields = {"event": "ignored_variables", "variables": list(ignored)}
        text = "ignored, as made by Kubernetes or Docker of a service's name, and no settings: %s"
        log.info(text, ", ".join(ignored), extra={"fields": fields})
    if is_reached_from_outside(listeners) and not settings.api_keys and settings.api_keys_file is None:
        text = "there are no keys: whoever reaches this port is served; set DIT_API_KEYS_FILE, or guard the port"
        log.warning(text, extra={"fields": {"event": "no_keys", "host": settings.host}})
