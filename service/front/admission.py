"""Whether jobs can be accepted now: there is room for them, and they would be done in time.

Both are judged before anything is done for the jobs, and who is refused is told when to come back. A refusal keeps the
work from being done that its figures come from: so none is held against a request that are not being measured anew,
and a service that has nothing to do tries whatever it is asked.

Knows no worker and no HTTP.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from dit_serve.service.errors import DeadlineTooShort, Problem, QueueFull
from dit_serve.service.front.estimate import TRUSTED_SECONDS, Pace
from dit_serve.service.front.ledger import Ledger
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.wire.job import Job

SLACK = 1.1  # of the time told: who comes too early has come in vain
LEAST_SECONDS = 0.1  # what is due now has not come about yet
COMING_SECONDS = 2.0  # so much later than told somebody may still come back
PROMISES_SEEN = 32
MOST_PROMISES = 1000


class Promises:
    """Places that refused requests will ask for again: who is refused next is told to come after them.

    Not everybody comes back, or waits as he was told: promised places count by the share of promises that was kept
    of late.

    Args:
        most: so many places are promised at once, at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: list[tuple[float, int]] = []  # when they come, for how many places
        self._kept: deque[bool] = deque([True] * PROMISES_SEEN, maxlen=PROMISES_SEEN)

    def places(self, now: float) -> int:
        """How many will be asked for by those who have not come yet."""
        open_ones = [each for each in self._made if each[0] + COMING_SECONDS > now]
        self._kept.extend([False] * (len(self._made) - len(open_ones)))
        self._made = open_ones
        return round(sum(places for _, places in open_ones) * sum(self._kept) / len(self._kept))

    def make(self, at: float, places: int) -> None:
        """Says that somebody will come; where more are promised than there are, the line begins anew."""
        promised = sum(places for _, places in self._made)
        if promised + places > self._most or len(self._made) >= MOST_PROMISES:
            self._made.clear()
        self._made.append((at, places))

    def keep(self, places: int, now: float) -> None:
        """Takes it that who asks for so many now is who was to come first, if anybody was to have come."""
        due = (each for each in self._made if each[0] <= now and each[1] == places)
        if (kept := min(due, default=None)) is not None:
            self._made.remove(kept)
            self._kept.append(True)


class Admission:
    """The judgement.

    Args:
        ledger: every accepted and unfinished job.
        outlook: tells when they will be done.
        max_queue_sequences: most sequences accepted and not finished.
        clock: monotonic seconds.
    """

    def __init__(
        self, ledger: Ledger, outlook: Outlook, max_queue_sequences: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_queue_sequences = max_queue_sequences
        self._ledger = ledger
        self._outlook = outlook
        self._promises = Promises(max_queue_sequences)
        self._clock = clock

    def refusal(self, jobs: Sequence[Job], deadline_seconds: float | None) -> Problem | None:
        """Why these jobs of one request are not accepted, with the time when they would be; None if they are.

        Args:
            jobs: what is asked, of any models.
            deadline_seconds: how long they may take, None for any time.
        """
        needed = sum(job.sequences for job in jobs)
        free = self.max_queue_sequences - self._ledger.sequences
        self._promises.keep(needed, self._clock())
        if needed > free:
            return self._queue_full(needed, free)
        return None if deadline_seconds is None else self._too_late(jobs, deadline_seconds)

    def _queue_full(self, needed: int, free: int) -> QueueFull:
        now = self._clock()
        seconds = _told(self._outlook.seconds_until_free(self._promises.places(now) + needed - free))
        self._promises.make(now + seconds, needed)
        return QueueFull(
            f"{self._ledger.sequences} of the queue's {self.max_queue_sequences} places are taken and this request "
            f"needs {needed} (two an image, or one if cfg is 1); room is expected in {seconds:.1f} seconds",
            retry_after=seconds,
        )

    def _too_late(self, jobs: Sequence[Job], deadline_seconds: float) -> DeadlineTooShort | None:
        tried = {model for model in {job.model for job in jobs} if self._is_to_be_tried(model)}
        known = [job for job in jobs if job.model not in tried]  # if these are too late, so are all of them
        predicted = self._outlook.finish_seconds(known, Pace.LOW) if known else 0.0
        if not known or predicted <= deadline_seconds:
            return None
        return DeadlineTooShort(
            f"the finish is expected in {predicted:.1f} seconds, the deadline is in {max(0.0, deadline_seconds):.1f}",
            retry_after=_told(min(predicted - deadline_seconds, self._outlook.seconds_until_empty())),
        )

    def _is_to_be_tried(self, model: str) -> bool:
        """Whether nothing is known that could be held against work of this model."""
        within = math.inf if self._ledger.holds(model) else TRUSTED_SECONDS
        return not len(self._ledger) or not self._ledger.times.is_known(model, within)


def _told(seconds: float) -> float:
    return max(LEAST_SECONDS, SLACK * seconds)
