"""Keeps one worker process alive: listens to it, and takes another when it ends, hangs or falls silent.

A worker beats (`service.wire.messages.Heartbeat`) from a thread of its own as long as its process runs, loading
included, and says if its work is overdue. It is killed when it says so: a hang. It is also killed when it
has said nothing for `silence_seconds`: a stopped process. That bound is wider where a step takes long, as
whoever computes may hold the interpreter and with it the beat, and before the first step was measured; while
it loads the worker has far longer. Silence is counted in ticks of the event loop, each at its nominal length:
on a machine so busy that this process is late too, time passes as slowly for both.

A worker that ends having had no work, soon after it was ready or before, has failed to start: the next
one comes after a longer pause. Tells a `Listener` what happens and sends the worker what it is asked to;
which jobs there are and what becomes of them is `service.front.front`'s affair. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from typing import Protocol

from dit_serve.service.errors import WireError
from dit_serve.service.wire.frames import pack, receive_async
from dit_serve.service.wire.job import Started, Stepped
from dit_serve.service.wire.messages import Configure, FromWorker, Heartbeat, Message, Ready, ToWorker
from dit_serve.service.workers.standby import Standby, ended

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
SILENT_STEPS = 4.0  # so many of the slowest steps of late may pass without a beat
SILENCE_PER_STEP_TIMEOUT = 0.5  # as long as no step was measured
STEP_MEMORY = 0.99  # by which a slow step counts less with each one after it
LOADING_SILENCE_SECONDS = 600.0  # a large library on a slow disk holds the interpreter while it is linked
STEADY_SECONDS = 30.0  # a worker without work that lives longer has not failed to start
TICKS = 8  # in the shortest silence


class Listener(Protocol):
    """Who wants to know about the worker; called in the event loop."""

    def worker_said(self, message: FromWorker) -> None:
        """A message came."""

    def worker_ended(self, how: str, *, has_failed_to_start: bool) -> None:
        """The process is gone, and everything that it said has been told; another one follows."""

    def supervision_ended(self, error: BaseException) -> None:
        """A defect of ours: no other worker follows."""


def worker_command(loader: str) -> list[str]:
    """The command that starts a worker, for `service.workers.standby`."""
    # -P: the folder in which somebody starts the server is no place to import code from
    return [sys.executable, "-P", "-m", "dit_serve.service.workers.process", "{fd}", loader]


class Supervisor:
    """One worker process after the other.

    Args:
        standby: where they come from.
        configure: the first message to each.
        listener: who wants to know.
    """

    def __init__(self, standby: Standby, configure: Configure, listener: Listener) -> None:
        self._standby = standby
        self._configure = configure
        self._listener = listener
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._silent_seconds = 0.0
        self._slowest_step_seconds = 0.0  # of late; outlives the process, as the next one has the same model
        self._ready_at: float | None = None
        self._has_worked = False
        self._why_killed = ""

    @property
    def pid(self) -> int | None:
        """The process id of the present worker, None between two."""
        return None if self._process is None else self._process.pid

    @property
    def patience_seconds(self) -> float:
        """How long the present worker may be silent."""
        if self._ready_at is None:
            return LOADING_SILENCE_SECONDS
        if not self._slowest_step_seconds:
            return max(self._configure.silence_seconds, SILENCE_PER_STEP_TIMEOUT * self._configure.step_timeout_seconds)
        return max(self._configure.silence_seconds, SILENT_STEPS * self._slowest_step_seconds)

    def start(self) -> None:
        """Begins to keep a worker alive; returns at once."""
        self._keeper = asyncio.create_task(self._keep_alive(), name="worker-supervisor")
        self._keeper.add_done_callback(self._on_kept)

    async def stop(self) -> None:
        """Ends the worker for good: it ends by itself when its socket closes, and is killed if it does not."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    def send(self, message: ToWorker) -> None:
        """Sends a message to the present worker; without one it is lost, as it would be in a crash."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(pack(message))

    def _on_kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._listener.supervision_ended(error)

    async def _keep_alive(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            how = await self._one_life()
            has_failed_to_start = self._has_failed_to_start
            self._listener.worker_ended(how, has_failed_to_start=has_failed_to_start)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS) if has_failed_to_start else FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff)

    @property
    def _has_failed_to_start(self) -> bool:
        """Whether the last worker ended without having been of use; one that dies of its work is no bad start."""
        if self._ready_at is None:
            return True
        return not self._has_worked and asyncio.get_running_loop().time() - self._ready_at < STEADY_SECONDS

    async def _one_life(self) -> str:
        """Takes a process and listens until its end: how it ended."""
        self._silent_seconds, self._ready_at, self._has_worked, self._why_killed = 0.0, None, False, ""
        try:
            self._process, ours = await self._standby.take()
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        try:
            await self._converse(ours)
        finally:
            status = await ended(self._process)
            self._process = None
        return self._why_killed or _describe(status)

    async def _converse(self, ours: socket.socket) -> None:
        """Says what to load, and listens until the socket closes."""
        reader, self._writer = await asyncio.open_connection(sock=ours)
        watching = asyncio.create_task(self._watch(), name="worker-watch")
        try:
            self.send(self._configure)
            while (message := await receive_async(reader)) is not None:
                await self._take_in(_checked(message))
        except (WireError, ConnectionError) as error:
            logging.getLogger("dit.supervisor").error("the worker is replaced: %s", error)
        finally:
            watching.cancel()
            self._writer.close()
            self._writer = None

    async def _take_in(self, message: FromWorker) -> None:
        self._silent_seconds = 0.0
        match message:
            case Ready():
                self._ready_at = asyncio.get_running_loop().time()
                await self._standby.prepare()
            case Started():
                self._has_worked = True
            case Stepped(seconds=seconds):
                self._slowest_step_seconds = max(seconds, STEP_MEMORY * self._slowest_step_seconds)
            case Heartbeat(overdue) if overdue:
                self._kill(f"hung in {overdue}")
            case _:
                pass
        self._listener.worker_said(message)

    async def _watch(self) -> None:
        """Kills a worker that is silent for too long."""
        tick_seconds = self._configure.silence_seconds / TICKS
        while self._silent_seconds <= self.patience_seconds:
            await asyncio.sleep(tick_seconds)
            self._silent_seconds += tick_seconds
        self._kill(f"silent for {self.patience_seconds:.1f} s")

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self._why_killed = self._why_killed or why
            self._process.kill()


def _checked(message: Message) -> FromWorker:
    if not isinstance(message, FromWorker):
        raise WireError(f"a worker does not say {message.kind}")
    return message


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
