"""The accepted jobs: where each stands, what each has cost, and how much work is left.

Knows no process and no socket; `service.front` decides what happens next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from service.errors import Problem
from service.estimate import WorkEstimate
from service.job import Job, JobEnd, Outcome, Started, Stepped


@dataclass(slots=True, eq=False)
class Accepted:
    """A job on the books, and the promise of its end.

    Args:
        job: what was asked.
        result: the image's end, or the problem that its client is told.
        steps_left: as last heard from the worker.
        accepted_at: monotonic seconds.
        crashes: how many crashes of a worker it was running in.
        is_sent: whether the present worker has it.
        is_running: whether it has left the worker's queue.
        given_up: how it shall end once the worker has freed its row, None while its client waits.
    """

    job: Job
    result: asyncio.Future[JobEnd | Problem]
    steps_left: int
    accepted_at: float = field(default_factory=time.monotonic)
    crashes: int = 0
    is_sent: bool = False
    is_running: bool = False
    given_up: Outcome | None = None


@dataclass(slots=True)
class Counters:
    """Jobs by what became of them; accepted = the sum of the ends + those on the books."""

    accepted: int = 0
    ended: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


class Books:
    """Every accepted and unfinished job, in the order of acceptance."""

    def __init__(self) -> None:
        self.sequences = 0
        self.estimate = WorkEstimate()
        self.counters = Counters()
        self._accepted: OrderedDict[int, Accepted] = OrderedDict()
        self._unsent: OrderedDict[int, Accepted] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accepted)

    def __iter__(self) -> Iterator[Accepted]:
        return iter(list(self._accepted.values()))

    def enter(self, job: Job) -> Accepted:
        """Puts a job on the books."""
        accepted = Accepted(job, asyncio.get_running_loop().create_future(), job.steps)
        self._accepted[job.id] = self._unsent[job.id] = accepted
        self.sequences += job.sequences
        self.counters.accepted += 1
        self.estimate.add(job, job.steps)
        return accepted

    def next_unsent(self) -> Accepted | None:
        """The job to send now, marked as sent; None if nothing is to be sent.

        While there are suspects, jobs that were running when a worker died, only the first of
        them is out: if it takes the next worker down too, it does so alone.
        """
        accepted = next(iter(self._unsent.values()), None)
        if accepted is None:
            return None
        first = next(iter(self._accepted.values()))
        if first.crashes and first.is_sent:
            return None
        del self._unsent[accepted.job.id]
        accepted.is_sent = True
        return accepted

    def note(self, event: Started | Stepped) -> None:
        """Writes down what the worker told."""
        if isinstance(event, Stepped):
            self.estimate.observe(event)
        for accepted in (self._accepted[job_id] for job_id in event.job_ids if job_id in self._accepted):
            if isinstance(event, Started):
                accepted.is_running = True
                fields = {"event": "job_started", "job_id": accepted.job.id, "request_id": accepted.job.request_id}
                logging.getLogger("dit.job").debug("job started", extra={"fields": fields})
            else:
                accepted.steps_left -= 1
                self.estimate.add(accepted.job, -1)

    def note_crash(self) -> None:
        """The worker is gone: nothing is sent or running any more, and what was running is suspect, first in line."""
        for accepted in self._accepted.values():
            accepted.crashes += accepted.is_running
            accepted.is_sent = accepted.is_running = False
            self.estimate.add(accepted.job, accepted.job.steps - accepted.steps_left)
            accepted.steps_left = accepted.job.steps
        in_order = sorted(self._accepted.values(), key=lambda accepted: (accepted.crashes == 0, accepted.job.id))
        self._accepted = OrderedDict((accepted.job.id, accepted) for accepted in in_order)
        self._unsent = self._accepted.copy()

    def find(self, job_id: int) -> Accepted | None:
        """The job of this id, if it has not ended."""
        return self._accepted.get(job_id)

    def end(self, accepted: Accepted, end: JobEnd, problem: Problem | None = None) -> None:
        """Takes a job off the books and keeps its promise; a job ends only once.

        Args:
            accepted: the job.
            end: how it ended, as the log shall say.
            problem: what its client is told, None if it is the image.
        """
        del self._accepted[accepted.job.id]
        self._unsent.pop(accepted.job.id, None)
        self.sequences -= accepted.job.sequences
        self.estimate.add(accepted.job, -accepted.steps_left)
        self.counters.ended[end.outcome] += 1
        end = _with_whole_wait(accepted, end)
        _log_end(accepted, end)
        if not accepted.result.done():
            accepted.result.set_result(end if problem is None else problem)


def _with_whole_wait(accepted: Accepted, end: JobEnd) -> JobEnd:
    """Counts as queueing all time since acceptance that no stage accounts for, restarts of the worker included."""
    stages = end.timings
    worked = stages.denoise_seconds + stages.decode_seconds + stages.encode_seconds
    waited = max(0.0, time.monotonic() - accepted.accepted_at - worked)
    return replace(end, timings=replace(stages, queue_seconds=waited))


def _log_end(accepted: Accepted, end: JobEnd) -> None:
    job, stages = accepted.job, end.timings
    fields = {
        "event": "job_end",
        "job_id": job.id,
        "request_id": job.request_id,
        "outcome": end.outcome.value,
        "resolution": job.resolution,
        "steps": job.steps,
        "sampler": job.sampler,
        "queue_seconds": round(stages.queue_seconds, 6),
        "denoise_seconds": round(stages.denoise_seconds, 6),
        "decode_seconds": round(stages.decode_seconds, 6),
        "encode_seconds": round(stages.encode_seconds, 6),
        "crashes": accepted.crashes,
    }
    if end.reason:
        fields["reason"] = end.reason
    level = logging.ERROR if end.outcome is Outcome.FAILED else logging.INFO
    logging.getLogger("dit.job").log(level, "job %s", end.outcome.value, extra={"fields": fields})
