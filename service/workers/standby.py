"""Starts worker processes, and keeps one started ahead, so that a dead worker is replaced at once.

Most of a worker's start is the import of its libraries. The process that stands by has done that, and waits
for its first message, which says what to load. Until then it holds no model and nothing of a card. One
serves all workers: whoever needs a process first takes it, and the next worker that is ready has another one
started. It is watched as a worker is: one that dies or falls silent is replaced, after a pause that grows if that
happens again and again. Where the system has no room for a process just then it is tried until there is. Knows no
worker.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Sequence

from dit_serve.children import worker_environment
from dit_serve.service.wire.messages import Fatal, FromWorker, Imported
from dit_serve.service.workers.child import Child, spawn
from dit_serve.service.workers.patience import FIRST_IMPORT_SECONDS, LEAST_IMPORT_SECONDS, Habit, Silence
from dit_serve.threads import bounded_waiting

SILENT_SECONDS = 5.0  # it beats every second
TICK_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0  # one that stood by for longer did not die of its start
FIRST_RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 1.0
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


class Standby:
    """Where worker processes come from.

    Args:
        command: how to start one; "{fd}" stands for the number of its socket.
        threads: the share of the processor's cores that each takes, 0 to leave it to its libraries.
        is_wanted: whether to keep one started ahead.

    Attributes:
        is_wanted: whether one is kept; not any more once it is stopped.
        importing: how long the import of the libraries may be silent.
        no_room: why no process can be started just now, in words; empty if that is not known of.
    """

    def __init__(self, command: Sequence[str], *, threads: int = 0, is_wanted: bool = True) -> None:
        self.is_wanted = is_wanted
        self.importing = Habit(FIRST_IMPORT_SECONDS, LEAST_IMPORT_SECONDS)
        self.no_room = ""
        self._command = tuple(command)
        self._threads = threads
        self._spare: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that is to stand by, None if there is none."""
        return None if self._spare is None else self._spare.pid

    @property
    def is_up(self) -> bool:
        """Whether a process stands by that has its libraries."""
        return self._spare is not None and self._spare.is_imported

    async def take(self) -> Child:
        """A process: the one that stands by, or a new one, as soon as there is room for it.

        Raises:
            OSError: none can be started, for another reason than that there is no room.
        """
        spare, keeper = self._spare, self._keeper
        if spare is None or keeper is None or not spare.is_running:
            return await self._started()
        self._spare = self._keeper = None
        keeper.cancel()
        return spare

    def prepare(self) -> None:
        """Begins to see to it that one stands by, if none does; returns at once."""
        if self.is_wanted and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="standby")
            self._keeper.add_done_callback(self._on_kept)

    async def stop(self) -> None:
        """Ends the one that stands by; no other follows."""
        self.is_wanted = False
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.end()

    def _on_kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:  # a defect of ours: workers go on
            logging.getLogger("dit.supervisor").error("no process is kept standing by any more", exc_info=error)

    async def _keep(self) -> None:
        pause, loop = FIRST_PAUSE_SECONDS, asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            how = await self._stand_by()
            _log("standby_ended", f"the process that stood by ended ({how}) and is replaced", how=how)
            pause = FIRST_PAUSE_SECONDS if loop.time() - began_at >= STEADY_SECONDS else pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE_SECONDS)

    async def _stand_by(self) -> str:
        """Has one process stand by until it ends: how it did. Cancelled when it is taken."""
        try:
            child = await self._started()
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self._spare = child
        how = await self._watched(child)
        self._spare = None
        if child.is_running:  # to kill one that is dead takes from asyncio how it ended
            child.kill()
        status = await child.end()
        return how or status

    async def _watched(self, child: Child) -> str:
        """Returns when it is dead or silent: why it is of no use, in words, empty if its end tells that."""
        silence, last_words = Silence(TICK_SECONDS), ""

        def hear(message: FromWorker) -> None:
            nonlocal last_words
            if isinstance(message, Imported):
                self.importing.seen(silence.longest_seconds)
            elif isinstance(message, Fatal):
                last_words = message.sentence
            silence.broken()

        def bound() -> float:
            return SILENT_SECONDS if child.is_imported else self.importing.seconds

        child.hear = hear
        silent = asyncio.create_task(silence.passes(bound), name="watch-standby")
        try:
            await asyncio.wait({child.listening, silent}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            silent.cancel()
        if not child.is_running:
            return last_words
        if not child.is_imported:
            self.importing.missed()
        return f"silent for {silence.seconds:.1f} s"

    async def _started(self) -> Child:
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                child = await spawn(self._command, self._environment())
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._lacks_room(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_RETRY_SECONDS)
            else:
                self.no_room = ""
                return child

    def _lacks_room(self, error: OSError) -> None:
        """Says it once, until one could be started."""
        if not self.no_room:
            text = f"no process can be started: {error.strerror}; it is tried again until there is room"
            _log("no_room_for_process", text, error=error.strerror)
        self.no_room = error.strerror or type(error).__name__

    def _environment(self) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": str(self._threads)} if self._threads else {}
        # the operator's own word on threads counts first
        return {**bounded_waiting(os.environ), **threads, **worker_environment(os.environ)}


def _log(event: str, text: str, **fields: object) -> None:
    logging.getLogger("dit.supervisor").warning(text, extra={"fields": {"event": event, **fields}})
