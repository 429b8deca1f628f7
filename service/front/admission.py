"""Whether jobs can be accepted now: there is room for them, and they would be done in time.

Both are judged from the ledger, before anything is done for the jobs. Knows no worker and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dit_serve.service.errors import DeadlineTooShort, Problem, QueueFull
from dit_serve.service.front.ledger import Ledger
from dit_serve.service.wire.job import Job


class Admission:
    """The judgement.

    Args:
        ledger: every accepted and unfinished job.
        max_queue_sequences: most sequences accepted and not finished.
        places: tells how many sequences of a model run at once, in one worker.
    """

    def __init__(self, ledger: Ledger, max_queue_sequences: int, places: Callable[[str], int]) -> None:
        self.max_queue_sequences = max_queue_sequences
        self._ledger = ledger
        self._places = places

    def refusal(self, jobs: Sequence[Job], deadline_seconds: float | None) -> Problem | None:
        """Why these jobs of one request are not accepted, with the time when they would be; None if they are.

        Args:
            jobs: what is asked, of one model.
            deadline_seconds: how long they may take, None for any time.
        """
        needed = sum(job.sequences for job in jobs)
        free = self.max_queue_sequences - self._ledger.sequences
        if needed > free:
            return self._queue_full(needed, free)
        return None if deadline_seconds is None else self._too_late(jobs, deadline_seconds)

    def _queue_full(self, needed: int, free: int) -> QueueFull:
        held = self._ledger.sequences
        seconds = self._ledger.estimate.seconds_until_free(needed - free, held)
        return QueueFull(
            f"{held} of the queue's {self.max_queue_sequences} places are taken and this request needs {needed} "
            f"(two an image, or one if cfg is 1); room is expected in {seconds:.1f} seconds",
            retry_after=seconds,
        )

    def _too_late(self, jobs: Sequence[Job], deadline_seconds: float) -> DeadlineTooShort | None:
        """As long as nothing was measured, nothing is known to come too late."""
        ledger, capacity = self._ledger, self._places(jobs[0].model)
        predicted = ledger.estimate.finish_seconds(jobs, held=ledger.sequences, capacity=capacity)
        if predicted <= deadline_seconds or not ledger.estimate.is_measured(jobs[0].model):
            return None
        alone = ledger.estimate.finish_seconds(jobs, held=0, capacity=capacity)
        return DeadlineTooShort(
            f"the finish is expected in {predicted:.1f} seconds, the deadline is in {deadline_seconds:.1f}",
            retry_after=predicted - deadline_seconds if alone <= deadline_seconds else None,
        )
