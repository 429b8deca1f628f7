"""How much a figure may be, judged by what it usually is: a multiple of a quantile of its newest values.

A single value of a paused or busy machine moves the quantile little once others are known. As long as hardly any are,
that one may be all there is to go by: then the multiple becomes smaller with time, down to one that a value which was
no accident still keeps. Knows nothing of what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dit_serve.service.telemetry.recent import Recent

SETTLED = 4  # of so many values one that is an accident is not the quantile
HALVED_AFTER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Margin:
    """How far above the usual a figure may be.

    Args:
        share: the quantile that counts as usual; at most 0.75, or an accident among `SETTLED` values is it.
        factor: how many times that.
        least_factor: how many times at the least, while there are few values and they are old.
    """

    share: float
    factor: float
    least_factor: float


class Usual:
    """The newest values of one figure, and the bound that they give.

    Args:
        margin: how far above them a value may be.
        clock: monotonic seconds.
    """

    def __init__(self, margin: Margin, clock: Callable[[], float] = time.monotonic) -> None:
        self._margin = margin
        self._clock = clock
        self._recent = Recent(clock=clock)
        self._added_at = 0.0

    def add(self, figure: float) -> None:
        """Takes in one more."""
        self._recent.add(figure)
        self._added_at = self._clock()

    @property
    def bound(self) -> float:
        """The most that a value may be; 0 before there was any."""
        if not len(self._recent):
            return 0.0
        factor = self._margin.factor
        if len(self._recent) < SETTLED:
            halvings = (self._clock() - self._added_at) // HALVED_AFTER_SECONDS
            factor = max(self._margin.least_factor, factor * 0.5**halvings)
        return factor * self._recent.quantile(self._margin.share)
