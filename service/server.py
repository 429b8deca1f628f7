"""Runs the application: one uvicorn server that ends in good order.

SIGTERM or SIGINT: /readyz turns 503 and new work is refused, while the socket stays open and all
admitted work is finished and answered; then the process ends with status 0, or 1 if the drain took
too long and work was lost. A second signal ends the process at once.

Knows signals and sockets; what is admitted, the front knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from service.api import create_app
from service.errors import StartError
from service.front import Front
from service.http_protocol import guarded_protocol
from service.logs import set_up_logging
from service.messages import Configure
from service.settings import Settings
from service.supervisor import worker_command
from service.tally import Tally

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
    set_up_logging(settings.log_level)
    with _listen(settings.host, settings.port) as listener:
        factory = uvicorn.Config("", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(settings, loader, listener))


class _Server(uvicorn.Server):
    """uvicorn's server, with signals left to us: its own handling would end the process by the signal it caught."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


class _Ending:
    """What a signal does: the first drains, the second ends at once."""

    def __init__(self, server: uvicorn.Server, front: Front, drain_seconds: float) -> None:
        self.status = 0
        self._server = server
        self._front = front
        self._drain_seconds = drain_seconds
        self._draining: asyncio.Task[None] | None = None

    def on_signal(self) -> None:
        """Takes a SIGTERM or SIGINT."""
        if self._draining is not None:
            os._exit(ENDED_BY_SECOND_SIGNAL)  # the worker sees its socket close and ends too
        fields = {"event": "draining", "jobs": len(self._front.books)}
        logging.getLogger("dit.server").info("draining", extra={"fields": fields})
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        is_clean = await self._front.drain(self._drain_seconds)
        self.status = 0 if is_clean else 1
        self._server.should_exit = True


async def _serve(settings: Settings, loader: str, listener: socket.socket) -> int:
    front = Front(
        worker_command(loader),
        _configure(settings),
        settings.devices,
        max_queue_sequences=settings.max_queue_sequences,
    )
    server = _Server(_uvicorn_config(settings, front))
    ending = _Ending(server, front, settings.drain_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.on_signal)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ends: set[asyncio.Future[Any]] = {serving, front.fatal}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    if front.fatal.done():
        raise front.fatal.result()
    return ending.status


def _configure(settings: Settings) -> Configure:
    return Configure(
        models=settings.models,
        vae=settings.vae,
        device=None,
        dtype=settings.dtype,
        max_batch_sequences=settings.max_batch_sequences,
        fill_across_guidance=settings.fill_across_guidance,
        batch_invariant=settings.batch_invariant,
        step_timeout_seconds=settings.step_timeout_seconds,
    )


def _uvicorn_config(settings: Settings, front: Front) -> uvicorn.Config:
    tally = Tally()
    return uvicorn.Config(
        create_app(front, settings, tally),
        http=guarded_protocol(settings, tally),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port") from None
    bound = listener.getsockname()[1]
    fields = {"event": "listening", "host": host, "port": bound}
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger("dit.server").info("listening on http://%s:%d", shown, bound, extra={"fields": fields})
    return listener
