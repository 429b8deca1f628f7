"""Whether jobs can be accepted now: there is room for them, and they would be done in time.

Both are judged from the books, before anything is done for the jobs. Knows no worker and no HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dit_serve.service.errors import DeadlineTooShort, Problem, QueueFull
from dit_serve.service.front.ledger import Books
from dit_serve.service.wire.job import Job


class Admission:
    """The judgement.

    Args:
        books: every accepted and unfinished job.
        max_queue_sequences: most sequences accepted and not finished.
        running_sequences: how many run at once, in one worker.
    """

    def __init__(self, books: Books, max_queue_sequences: int, running_sequences: int) -> None:
        self.max_queue_sequences = max_queue_sequences
        self._books = books
        self._running_sequences = running_sequences

    def refusal(self, jobs: Sequence[Job], deadline_seconds: float | None) -> Problem | None:
        """Why these jobs of one request are not accepted, with the time when they would be; None if they are.

        Args:
            jobs: what is asked.
            deadline_seconds: how long they may take, None for any time.
        """
        needed = sum(job.sequences for job in jobs)
        free = self.max_queue_sequences - self._books.sequences
        if needed > free:
            return self._queue_full(needed, free)
        return None if deadline_seconds is None else self._too_late(jobs, deadline_seconds)

    def _queue_full(self, needed: int, free: int) -> QueueFull:
        held = self._books.sequences
        seconds = self._books.estimate.seconds_until_free(needed - free, held)
        return QueueFull(
            f"{held} of {self.max_queue_sequences} sequences are taken and this request needs "
            f"{needed}; room is expected in {seconds} seconds",
            retry_after=seconds,
        )

    def _too_late(self, jobs: Sequence[Job], deadline_seconds: float) -> DeadlineTooShort | None:
        """As long as nothing was measured, nothing is known to come too late."""
        books, capacity = self._books, self._running_sequences
        predicted = books.estimate.finish_seconds(jobs, held=books.sequences, capacity=capacity)
        if predicted <= deadline_seconds or not books.estimate.is_measured(jobs[0].resolution):
            return None
        alone = books.estimate.finish_seconds(jobs, held=0, capacity=capacity)
        return DeadlineTooShort(
            f"the finish is expected in {predicted:.1f} seconds, the deadline is in {deadline_seconds:.1f}",
            retry_after=max(1, math.ceil(predicted - deadline_seconds)) if alone <= deadline_seconds else None,
        )
