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
from collections.abc import AsyncGenerator, Generator
from typing import Any, Literal

import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from starlette.types import ASGIApp

from dit_serve.service.errors import StartError
from dit_serve.service.front.front import Front
from dit_serve.service.front.state_metrics import StateCollector
from dit_serve.service.http.app import create_app
from dit_serve.service.http.limits import guarded_protocol
from dit_serve.service.http.signals import ending_signals
from dit_serve.service.settings import Settings
from dit_serve.service.telemetry.gpu_metrics import open_gpus
from dit_serve.service.telemetry.log_metrics import LogCollector
from dit_serve.service.telemetry.logs import LineWriter, set_up_logging
from dit_serve.service.telemetry.metrics import Metrics
from dit_serve.service.telemetry.metrics_app import PATH as METRICS_PATH
from dit_serve.service.telemetry.metrics_app import metrics_app
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.wire.messages import Configure
from dit_serve.service.workers.placement import place, this_machine
from dit_serve.service.workers.worker import worker_command

ENDED_BY_SECOND_SIGNAL = 130
CLOSE_SECONDS = 5  # for clients that read their last answer slowly
BACKLOG = 2048


def run(settings: Settings, loader: str) -> int:
    """Serves until a signal; the exit status.

    Args:
        settings: checked.
        loader: import path of the function with which the worker loads a model.

    Raises:
        StartError: the address is not to be had, or the models cannot be loaded.
    """
    log = set_up_logging(settings.log_level)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, that nobody reads
    with contextlib.ExitStack() as opened:
        opened.callback(log.close)  # the last lines come before the sentence that the command line may print
        listener = opened.enter_context(_listen(settings.host, settings.port))
        for_metrics = opened.enter_context(_listen_for_metrics(settings)) if settings.metrics else None
        _log_listening("listening", "listening on http://%s:%d", settings.host, listener)
        factory = uvicorn.Config("", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(settings, loader, listener, for_metrics, log))


class _Server(uvicorn.Server):
    """uvicorn's server, with signals left to us: its own handling would end the process by the signal it caught."""

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
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        is_clean = await self._front.drain(self._drain_seconds)
        self.status = 0 if is_clean else 1
        self._server.should_exit = True


async def _serve(
    settings: Settings, loader: str, listener: socket.socket, for_metrics: socket.socket | None, log: LineWriter
) -> int:
    registry, tally = CollectorRegistry(), Tally()
    registry.register(LogCollector(log))
    front = Front(
        worker_command(loader),
        configuration(settings),
        place(settings.devices, settings.models, this_machine(), keeps_standby=settings.standby),
        max_queue_sequences=settings.max_queue_sequences,
        metrics=Metrics(registry),
    )
    server = _Server(_uvicorn_config(settings, create_app(front, settings, tally), tally))
    ending = _Ending(server, front, settings.drain_seconds)
    for number in ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, ending.on_signal, number)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ends: set[asyncio.Future[Any]] = {serving, front.fatal}
    async with _telling_prometheus(settings, registry, StateCollector(front, tally), for_metrics):
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    if front.fatal.done():
        raise front.fatal.result()
    return ending.status


def configuration(settings: Settings) -> Configure:
    """What each worker is told of the settings."""
    return Configure(
        models=settings.models,
        options=settings.options,
        max_batch_sequences=settings.max_batch_sequences,
        fill_across_guidance=settings.fill_across_guidance,
        step_timeout_seconds=settings.step_timeout_seconds,
        silence_seconds=settings.silence_seconds,
    )


@contextlib.asynccontextmanager
async def _telling_prometheus(
    settings: Settings, registry: CollectorRegistry, state: StateCollector, listener: socket.socket | None
) -> AsyncGenerator[None, None]:
    """Answers on the metrics' socket for the length of a with-statement, up to the last answer of the other one."""
    if listener is None:
        yield
        return
    registry.register(state)
    ProcessCollector(namespace="dit", registry=registry)
    if (gpus := open_gpus()) is not None:
        registry.register(gpus)
    own_tally = Tally()  # Prometheus' requests are nobody's work
    server = _Server(_uvicorn_config(settings, metrics_app(registry, gpus), own_tally, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _uvicorn_config(
    settings: Settings, app: ASGIApp, tally: Tally, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=guarded_protocol(settings.limits, tally),
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _listen_for_metrics(settings: Settings) -> socket.socket:
    listener = _listen(settings.metrics_host, settings.metrics_port, "--metrics-host or --metrics-port")
    _log_listening("metrics_listening", f"metrics at http://%s:%d{METRICS_PATH}", settings.metrics_host, listener)
    return listener


def _listen(host: str, port: int, flags: str = "--host or --port") -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {flags}") from None
    return listener


def _log_listening(event: str, text: str, host: str, listener: socket.socket) -> None:
    bound = listener.getsockname()[1]
    fields = {"event": event, "host": host, "port": bound}
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger("dit.server").info(text, shown, bound, extra={"fields": fields})
