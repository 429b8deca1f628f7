"""Keeps one worker process alive: starts it, listens to it, starts another when it ends or hangs.

A worker beats (`service.messages.Heartbeat`) as long as it runs, loading included, and says if its
work is overdue. It is killed when it says so, and when it has said nothing for half of the step
time-out, so that a hang is seen within twice the bound of a step. While it loads it has far longer.
Silence is counted in ticks of the event loop: a loop that was held up itself finds what came
meanwhile before it has counted far.

Tells a `Listener` what happens and sends it what it is asked to; which jobs there are and what
becomes of them is `service.front`'s affair. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from service.errors import WireError
from service.messages import Configure, FromWorker, Heartbeat, Message, Ready, ToWorker
from service.wire import pack, receive_async

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
KILL_AFTER_SECONDS = 5.0
SILENCE_PER_STEP_TIMEOUT = 0.5
LOADING_SILENCE_SECONDS = 600.0  # a large library on a slow disk holds the interpreter while it is linked
TICKS = 8  # in the longest silence


class Listener(Protocol):
    """Who wants to know about the worker; called in the event loop."""

    def worker_said(self, message: FromWorker) -> None:
        """A message came."""

    def worker_ended(self, how: str) -> None:
        """The process is gone, and everything that it said has been told; another one follows."""

    def supervision_ended(self, error: BaseException) -> None:
        """A defect of ours: no other worker follows."""


def worker_command(loader: str) -> list[str]:
    """The command that starts a worker; the socket's descriptor and the loader are appended by the supervisor."""
    # -P: the folder in which somebody starts the server is no place to import code from
    return [sys.executable, "-P", "-m", "service.worker", "{fd}", loader]


def _worker_environment() -> dict[str, str]:
    """This process's environment, with the folder of these packages on the path wherever they are installed."""
    here = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


class Supervisor:
    """One worker process after the other.

    Args:
        command: how to start it; "{fd}" stands for the number of its socket.
        configure: the first message to each.
        listener: who wants to know.
    """

    def __init__(self, command: Sequence[str], configure: Configure, listener: Listener) -> None:
        self._command = tuple(command)
        self._configure = configure
        self._listener = listener
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._silent_seconds = 0.0
        self._patience_seconds = LOADING_SILENCE_SECONDS
        self._why_killed = ""

    @property
    def pid(self) -> int | None:
        """The process id of the present worker, None between two."""
        return None if self._process is None else self._process.pid

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
            was_ready, how = await self._one_life()
            self._listener.worker_ended(how)
            backoff = FIRST_BACKOFF_SECONDS if was_ready else min(2 * backoff, MAX_BACKOFF_SECONDS)
            await asyncio.sleep(backoff)

    async def _one_life(self) -> tuple[bool, str]:
        """Starts a process and listens until its end: (whether it was ever ready, how it ended)."""
        try:
            process, ours = await self._spawn()
        except OSError as error:
            return False, f"cannot be started: {error.strerror}"
        self._process = process
        self._silent_seconds, self._patience_seconds, self._why_killed = 0.0, LOADING_SILENCE_SECONDS, ""
        reader, self._writer = await asyncio.open_connection(sock=ours)
        watching = asyncio.create_task(self._watch(), name="worker-watch")
        try:
            self.send(self._configure)
            was_ready = await self._listen(reader)
        finally:
            watching.cancel()
            self._writer.close()
            self._writer = None
            status = await _ended(process)
            self._process = None
        return was_ready, self._why_killed or _describe(status)

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """A new process and our end of its socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            command = [str(descriptor) if part == "{fd}" else part for part in self._command]
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=[descriptor], env=_worker_environment()
                )
            except BaseException:
                ours.close()
                raise
        return process, ours

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        was_ready = False
        try:
            while (message := await receive_async(reader)) is not None:
                self._silent_seconds = 0.0
                if isinstance(message, Ready):
                    was_ready, self._patience_seconds = True, self._working_silence_seconds
                if isinstance(message, Heartbeat) and message.overdue:
                    self._kill(f"hung in {message.overdue}")
                self._listener.worker_said(_checked(message))
        except (WireError, ConnectionError) as error:
            logging.getLogger("dit.supervisor").error("the worker is replaced: %s", error)
        return was_ready


    @property
    def _working_silence_seconds(self) -> float:
        return SILENCE_PER_STEP_TIMEOUT * self._configure.step_timeout_seconds

    async def _watch(self) -> None:
        """Kills a worker that is silent for too long."""
        tick_seconds = self._working_silence_seconds / TICKS
        while self._silent_seconds <= self._patience_seconds:
            await asyncio.sleep(tick_seconds)
            self._silent_seconds += tick_seconds
        self._kill(f"silent for {self._patience_seconds:.1f} s")

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self._why_killed = self._why_killed or why
            self._process.kill()


def _checked(message: Message) -> FromWorker:
    if not isinstance(message, FromWorker):
        raise WireError(f"a worker does not say {message.kind}")
    return message


async def _ended(process: asyncio.subprocess.Process) -> int:
    """The status of a process whose socket is closed; killed if it does not end by itself."""
    try:
        return await asyncio.wait_for(process.wait(), KILL_AFTER_SECONDS)
    except TimeoutError:
        process.kill()
        return await process.wait()


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
