"""What a worker gives back to the system once nothing is asked of it.

Memory that work has taken is not the system's again by itself: a model keeps modulations for the next images, and the C
library keeps what was freed. A worker that has waited for a moment has both given up, once. Requests that follow each
other sooner never wait for it. Knows no job.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable
from typing import Protocol

from dit_serve.memory import give_back_freed
from dit_serve.service.engine.engine import Cancel, Door, Inbox, Stop
from dit_serve.service.wire.job import Job

REST_SECONDS = 1.0  # without a message


class RestingDoor(Door, Protocol):
    """What a worker asks of a model: what its engine does, and to give up what only makes later work faster."""

    def rest(self) -> None:
        """Gives up memory that no image under way needs; called when there is none, from the engine's thread."""


class RestingInbox(Inbox):
    """An engine's inbox that uses the time in which nothing comes.

    Args:
        seconds: of waiting, after which `rest` is called; it is called once, until something has come.

    Attributes:
        rest: what to do then, in the thread that waits.
    """

    def __init__(self, seconds: float = REST_SECONDS) -> None:
        self.rest: Callable[[], None] = lambda: None
        self._seconds = seconds

    def get(self, block: bool = True, timeout: float | None = None) -> Job | Cancel | Stop | BaseException:
        """The next message, as `queue.SimpleQueue` has it."""
        if not block or timeout is not None:
            return super().get(block, timeout)
        try:
            return super().get(timeout=self._seconds)
        except queue.Empty:
            self._rest()
        return super().get()

    def _rest(self) -> None:
        try:
            self.rest()
        except Exception as error:  # the work that comes next needs nothing of it
            logging.getLogger("dit.worker").warning("memory could not be given back", exc_info=error)


def give_back(doors: Iterable[RestingDoor]) -> None:
    """Has models give up what they can, and the C library what it keeps of freed memory."""
    for door in doors:
        door.rest()
    give_back_freed()
