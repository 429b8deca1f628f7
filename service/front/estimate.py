"""How long the accepted work will take, from measured steps.

Work is counted in sequence-steps: a guided image of 50 steps is 100 of them. Their price is
measured for each resolution as a moving average over the batches that ran. Knows no queue and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dit_serve.service.wire.job import Job, Stepped

SMOOTHING = 0.1  # weight of the newest step: an estimate forgets a change of load within some tens of steps
FIRST_GUESS_SECONDS = 0.01  # price of a sequence-step before anything was measured


class WorkEstimate:
    """Remaining work by resolution and its price."""

    def __init__(self) -> None:
        self.workers = 1  # they share the work
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

    def is_measured(self, resolution: int) -> bool:
        """Whether the price of this resolution is known, and not only guessed."""
        return resolution in self._prices

    def finish_seconds(self, jobs: Sequence[Job], *, held: int, capacity: int) -> float:
        """Predicted time until the jobs of one request would be done, if it were accepted now.

        They wait until enough of the sequences before them are done, and then share the steps with
        all others that there is room for; in no case do they end later than all accepted work.

        Args:
            jobs: not accepted yet.
            held: sequences accepted and not finished.
            capacity: sequences that run at once, in one worker.
        """
        ahead = self.seconds()
        own = sum(job.sequences * job.steps * self._price(job.resolution) for job in jobs)
        needed = sum(job.sequences for job in jobs)
        waits_for = min(max(held + needed - self.workers * capacity, 0), held)
        wait = ahead * waits_for / held if held else 0.0
        run = own * max(needed, min(held / self.workers + needed, capacity)) / needed
        return min(wait + run, ahead + own)

    def seconds(self) -> float:
        """Predicted time until all accepted work is done."""
        return sum(work * self._price(resolution) for resolution, work in self._work.items()) / self.workers

    def seconds_until_free(self, wanted: int, held: int) -> int:
        """Predicted whole seconds, at least 1, until `wanted` of `held` sequences are done."""
        share = min(1.0, wanted / held) if held else 0.0
        return max(1, math.ceil(self.seconds() * share))

    def _price(self, resolution: int) -> float:
        return self._prices.get(resolution, FIRST_GUESS_SECONDS)
