"""Starts worker processes, and keeps one started ahead, so that a dead worker is replaced at once.

Most of a worker's start is the import of its libraries. The process that stands by has done that, and waits
for its first message, which says what to load. Until then it holds no model and nothing of a card. One
serves all workers: whoever needs a process first takes it, and the next worker that is ready has another one
started. Knows no message and no worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import dit_serve
from dit_serve.threads import bounded_waiting

KILL_AFTER_SECONDS = 5.0
Started = tuple[asyncio.subprocess.Process, socket.socket]


class Standby:
    """Where worker processes come from.

    Args:
        command: how to start one; "{fd}" stands for the number of its socket.
        threads: the share of the processor's cores that each takes, 0 to leave it to its libraries.
        is_wanted: whether to keep one started ahead.
    """

    def __init__(self, command: Sequence[str], *, threads: int = 0, is_wanted: bool = True) -> None:
        self._command = tuple(command)
        self._threads = threads
        self._is_wanted = is_wanted
        self._spare: Started | None = None
        self._is_preparing = False

    @property
    def pid(self) -> int | None:
        """The process that stands by, None if none does."""
        return None if self._spare is None else self._spare[0].pid

    async def take(self) -> Started:
        """A process and our end of its socket: the one that stands by, or a new one.

        Raises:
            OSError: none can be started.
        """
        spare, self._spare = self._spare, None
        if spare is not None:
            if _is_open(spare[1]):
                return spare
            spare[1].close()
        return await self._spawn()

    async def prepare(self) -> None:
        """Sees to it that one stands by; where it cannot be started, the next worker has to wait for its own."""
        if not self._lacks_one:
            return
        self._is_preparing = True
        try:
            self._spare = await self._spawn()
            if not self._is_wanted:  # stopped meanwhile
                await self.stop()
        except OSError as error:
            logging.getLogger("dit.supervisor").warning("no process can stand by: %s", error.strerror)
        finally:
            self._is_preparing = False

    async def stop(self) -> None:
        """Ends the one that stands by; no other follows."""
        self._is_wanted = False
        spare, self._spare = self._spare, None
        if spare is not None:
            spare[1].close()
            await ended(spare[0])

    @property
    def _lacks_one(self) -> bool:
        return self._is_wanted and not self._is_preparing and self._spare is None

    async def _spawn(self) -> Started:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            command = [str(descriptor) if part == "{fd}" else part for part in self._command]
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[descriptor],
                    env=self._environment(),
                    start_new_session=True,  # what a terminal sends to all would find it before it can ignore that
                )
            except BaseException:
                ours.close()
                raise
        return process, ours

    def _environment(self) -> dict[str, str]:
        """This process's environment, with the folder of these packages on the path wherever they are installed."""
        here = str(Path(dit_serve.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        threads = {"OMP_NUM_THREADS": str(self._threads)} if self._threads else {}
        ours = {**bounded_waiting(os.environ), **threads}
        return {**ours, **os.environ, "PYTHONPATH": path}  # the operator's own word on threads counts first


def _is_open(ours: socket.socket) -> bool:
    """Whether the process at the other end has not closed it, as its death would."""
    try:
        return ours.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


async def ended(process: asyncio.subprocess.Process) -> int:
    """The status of a process whose socket is closed; killed if it does not end by itself."""
    try:
        return await asyncio.wait_for(process.wait(), KILL_AFTER_SECONDS)
    except TimeoutError:
        process.kill()
        return await process.wait()
