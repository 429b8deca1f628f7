"""How long the accepted work will take, from measured steps.

Work is counted in sequence-steps: a guided image of 50 steps is 100 of them. Their price is
measured for each resolution as a moving average over the batches that ran. Knows no queue and no clock.
"""

from __future__ import annotations

import math

from service.job import Job, Stepped

SMOOTHING = 0.1  # weight of the newest step: an estimate forgets a change of load within some tens of steps
FIRST_GUESS_SECONDS = 0.01  # price of a sequence-step before anything was measured


class WorkEstimate:
    """Remaining work by resolution and its price."""

    def __init__(self) -> None:
        self._prices: dict[int, float] = {}
        self._work: dict[int, int] = {}

    def add(self, job: Job, steps: int) -> None:
        """Counts a job's remaining steps in; a negative number counts them out."""
        self._work[job.resolution] = self._work.get(job.resolution, 0) + job.sequences * steps

    def observe(self, event: Stepped) -> None:
        """Learns the price of a sequence-step from one batch."""
        price = event.seconds / event.sequences
        known = self._prices.get(event.resolution, price)
        self._prices[event.resolution] = known + SMOOTHING * (price - known)

    def seconds(self) -> float:
        """Predicted time until all accepted work is done."""
        return sum(work * self._prices.get(resolution, FIRST_GUESS_SECONDS) for resolution, work in self._work.items())

    def seconds_until_free(self, wanted: int, held: int) -> int:
        """Predicted whole seconds, at least 1, until `wanted` of `held` sequences are done."""
        share = min(1.0, wanted / held) if held else 0.0
        return max(1, math.ceil(self.seconds() * share))
