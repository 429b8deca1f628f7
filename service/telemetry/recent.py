"""Figures of late, of which a quantile tells what is usual, whatever single ones were.

One slow step, of a machine that was paused or busy, must not be the truth about all that follow: an average would carry
it on, a quantile does not know it. Figures count less with time, too: those of another hour say little about this one.
Knows nothing of what is measured.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import fmean

MOST = 64
LEAST = 8  # so many count however old they are: nothing newer is known
SECONDS = 60.0
OUTLIER = 5.0  # times the median: no figure counts for more


class Recent:
    """The newest figures of one kind.

    Args:
        most: so many are kept at the most.
        seconds: what is older does not count, as long as there are some that are not.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, most: int = MOST, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._figures: deque[tuple[float, float]] = deque(maxlen=most)  # when, what

    def __len__(self) -> int:
        return len(self._figures)

    def add(self, figure: float) -> None:
        """Takes in one more."""
        self._figures.append((self._clock(), figure))

    def usual(self) -> float:
        """Their mean, in which none counts more than some times the median: what many of them make together.

        Raises:
            ValueError: there is none.
        """
        figures = self._sorted()
        most = OUTLIER * figures[(len(figures) - 1) // 2]
        return fmean(min(figure, most) for figure in figures)

    def quantile(self, share: float) -> float:
        """The least figure that this share of them does not pass: 0 is the lowest, 0.5 the median, 1 the highest.

        Raises:
            ValueError: there is none.
        """
        figures = self._sorted()
        return figures[max(0, math.ceil(share * len(figures)) - 1)]

    def _sorted(self) -> list[float]:
        if not self._figures:
            raise ValueError("nothing was measured yet")
        since = self._clock() - self._seconds
        while len(self._figures) > LEAST and self._figures[0][0] < since:
            self._figures.popleft()
        return sorted(figure for _, figure in self._figures)
