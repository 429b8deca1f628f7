"""Whether the work under way takes far longer than such work usually takes: a hang, then, and no slow step.

The loop and the decoding thread wrap what they ask of the model in `Pulse.work`; another thread asks `overdue` again
and again. The bound is a multiple of the usual price of late, and never less than a floor, because a first measurement
says little and a busy machine is no hang. Time in which this process was stopped, and nobody could ask, is no time of
the work. Knows no model and no process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from dit_serve.service.telemetry.usual import Margin, Usual

HANG = Margin(share=0.5, factor=20.0, least_factor=4.0)  # of the price of late
LOOK_SECONDS = 2.0  # so much counts at the most between two looks: more, and the process was stopped


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
        self._prices: dict[str, Usual] = {}
        self._running: dict[int, _Work] = {}
        self._lived_seconds = 0.0  # up to the last look
        self._looked_at = clock()

    @contextmanager
    def work(self, what: str, size: int) -> Generator[None, None, None]:
        """Marks a piece of work, one per thread at a time.

        Args:
            what: its kind, in words for the log; each kind has its own price.
            size: how many units of that price it is.
        """
        thread, began_at = threading.get_ident(), self._clock()
        with self._lock:
            self._running[thread] = _Work(what, self._lived(), self._bound(what, size))
        try:
            yield
            with self._lock:
                self._prices.setdefault(what, Usual(HANG, self._clock)).add((self._clock() - began_at) / size)
        finally:
            with self._lock:
                del self._running[thread]

    def overdue(self) -> str:
        """What has been under way for longer than its bound, in words; empty if nothing has. Asked every second."""
        with self._lock:
            self._lived_seconds, self._looked_at = self._lived(), self._clock()
            for work in self._running.values():
                seconds = self._lived_seconds - work.began_at
                if seconds > work.bound_seconds:
                    return f"{work.what}: {seconds:.1f} s, where {work.bound_seconds:.1f} s are the most"
        return ""

    def _lived(self) -> float:
        """Seconds that this process ran, as far as anybody looked."""
        return self._lived_seconds + min(self._clock() - self._looked_at, LOOK_SECONDS)

    def _bound(self, what: str, size: int) -> float:
        price = self._prices.get(what)
        return self._floor_seconds if price is None else max(self._floor_seconds, price.bound * size)
