"""Whether the work under way takes far longer than such work has taken before: a hang, then, and no slow step.

The loop and the decoding thread wrap what they ask of the model in `Pulse.work`; another thread asks
`overdue`. The bound is a multiple of the measured price, and never less than a floor, because a first
measurement says little and a busy machine is no hang. Knows no model and no process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from dit_serve.service.telemetry.prices import Prices

HANG_FACTOR = 20.0


@dataclass(frozen=True, slots=True)
class _Work:
    what: str
    began_at: float
    bound_seconds: float


class Pulse:
    """Measures work by its kind, and tells which has been under way for too long. Safe to use from any thread.

    Args:
        floor_seconds: nothing is overdue before that.
        clock: monotonic seconds.
    """

    def __init__(self, floor_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor_seconds = floor_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._prices = Prices()
        self._running: dict[int, _Work] = {}

    @contextmanager
    def work(self, what: str, size: int) -> Generator[None, None, None]:
        """Marks a piece of work, one per thread at a time.

        Args:
            what: its kind, in words for the log; each kind has its own price.
            size: how many units of that price it is.
        """
        thread, began_at = threading.get_ident(), self._clock()
        with self._lock:
            self._running[thread] = _Work(what, began_at, self._bound(what, size))
        try:
            yield
            with self._lock:
                self._prices.observe(what, (self._clock() - began_at) / size)
        finally:
            with self._lock:
                del self._running[thread]

    def overdue(self) -> str:
        """What has been under way for longer than its bound, in words; empty if nothing has."""
        now = self._clock()
        with self._lock:
            for work in self._running.values():
                if now - work.began_at > work.bound_seconds:
                    return f"{work.what}: {now - work.began_at:.1f} s, where {work.bound_seconds:.1f} s are the most"
        return ""

    def _bound(self, what: str, size: int) -> float:
        return max(self._floor_seconds, HANG_FACTOR * self._prices.of(what, 0.0) * size)
