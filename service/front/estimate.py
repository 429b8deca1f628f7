"""How long the accepted work will take, from measured steps.

Work is counted in sequence-steps: a guided image of 50 steps is 100 of them. Their price is measured for each model as
a moving average over the batches that ran. Knows no queue and no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dit_serve.service.telemetry.prices import Prices
from dit_serve.service.wire.job import Job, Stepped

FIRST_GUESS_SECONDS = 0.01  # price of a sequence-step before anything was measured


class WorkEstimate:
    """Remaining work by model and its price."""

    def __init__(self) -> None:
        self.workers = 1  # they share the work
        self._prices = Prices()
        self._work: Counter[str] = Counter()

    def add(self, model: str, sequence_steps: int) -> None:
        """Counts work in; a negative number counts it out."""
        self._work[model] += sequence_steps

    def observe(self, event: Stepped) -> None:
        """Learns the price of a sequence-step from one batch."""
        self._prices.observe(event.model, event.seconds / event.sequences)

    def is_measured(self, model: str) -> bool:
        """Whether the price of this model's steps is known, and not only guessed."""
        return self._prices.knows(model)

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
        own = sum(job.sequences * job.spec.steps * self._price(job.model) for job in jobs)
        needed = sum(job.sequences for job in jobs)
        waits_for = min(max(held + needed - self.workers * capacity, 0), held)
        wait = ahead * waits_for / held if held else 0.0
        run = own * max(needed, min(held / self.workers + needed, capacity)) / needed
        return min(wait + run, ahead + own)

    def seconds(self) -> float:
        """Predicted time until all accepted work is done."""
        return sum(work * self._price(model) for model, work in self._work.items()) / self.workers

    def seconds_until_free(self, wanted: int, held: int) -> float:
        """Predicted time until `wanted` of `held` sequences are done."""
        return self.seconds() * min(1.0, wanted / held) if held else 0.0

    def _price(self, model: str) -> float:
        return self._prices.of(model, FIRST_GUESS_SECONDS)
