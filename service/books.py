"""The accepted jobs: where each stands, what each has cost, and how much work is left.

Knows no process and no socket; `service.front` decides what happens next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from service.errors import Problem
from service.estimate import WorkEstimate
from service.job import Job, JobEnd, Outcome, Preview, Started, Stepped

LINE_SECONDS = 0.5  # one count of the line serves all who ask within that time


@dataclass(slots=True, eq=False)
class Accepted:
    """A job on the books, and the promise of its end.

    Args:
        job: what was asked.
        result: the image's end, or the problem that its client is told.
        steps_left: as last heard from the worker.
        accepted_at: monotonic seconds.
        crashes: how many crashes of a worker it was running in.
        worker: number of the worker that has it, None while it waits to be sent.
        is_running: whether it has left the worker's queue.
        given_up: how it shall end once the worker has freed its row, None while its client waits.
        preview: the newest look at it, None before the first.
        started_at: monotonic seconds, when it last left the queue.
        changed: set whenever there is something new to tell, None if nobody watches.
    """

    job: Job
    result: asyncio.Future[JobEnd | Problem]
    steps_left: int
    accepted_at: float = field(default_factory=time.monotonic)
    crashes: int = 0
    worker: int | None = None
    is_running: bool = False
    given_up: Outcome | None = None
    preview: Preview | None = None
    started_at: float = 0.0
    changed: asyncio.Event | None = None

    @property
    def steps_done(self) -> int:
        """Steps made, as last heard from the worker."""
        return self.job.steps - self.steps_left

    @property
    def eta_seconds(self) -> float:
        """Predicted seconds until its last step, at its own pace so far; only once it has made a step."""
        return self.steps_left * (time.monotonic() - self.started_at) / self.steps_done

    def tell_watcher(self) -> None:
        """Wakes who watches."""
        if self.changed is not None:
            self.changed.set()


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs that belong together stand.

    Args:
        position: how many accepted jobs before the first of them do not run yet.
        eta_seconds: predicted time until the last of them is done.
    """

    position: int
    eta_seconds: float


@dataclass(slots=True)
class Counters:
    """Jobs by what became of them; accepted = the sum of the ends + those on the books. And what befell them."""

    accepted: int = 0
    out_of_memory: int = 0
    ended: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


class Books:
    """Every accepted and unfinished job, in the order of acceptance."""

    def __init__(self) -> None:
        self.sequences = 0
        self.estimate = WorkEstimate()
        self.counters = Counters()
        self._accepted: OrderedDict[int, Accepted] = OrderedDict()
        self._line: dict[int, int] = {}
        self._line_drawn_at = 0.0

    def __len__(self) -> int:
        return len(self._accepted)

    def __iter__(self) -> Iterator[Accepted]:
        return iter(list(self._accepted.values()))

    def enter(self, job: Job) -> Accepted:
        """Puts a job on the books."""
        accepted = Accepted(job, asyncio.get_running_loop().create_future(), job.steps)
        self._accepted[job.id] = accepted
        self.sequences += job.sequences
        self.counters.accepted += 1
        self.estimate.add(job, job.steps)
        return accepted

    def note(self, event: Started | Stepped) -> None:
        """Writes down what the worker told."""
        if isinstance(event, Stepped):
            self.estimate.observe(event)
        for accepted in (self._accepted[job_id] for job_id in event.job_ids if job_id in self._accepted):
            if isinstance(event, Started):
                accepted.is_running = True
                accepted.started_at = time.monotonic()
                fields = {
                    "event": "job_started",
                    "job_id": accepted.job.id,
                    "request_id": accepted.job.request_id,
                    "worker": accepted.worker,
                }
                logging.getLogger("dit.job").debug("job started", extra={"fields": fields})
            else:
                accepted.steps_left -= 1
                self.estimate.add(accepted.job, -1)
            accepted.tell_watcher()

    def note_preview(self, preview: Preview) -> None:
        """Keeps the newest look at a job; one that nobody has fetched is forgotten."""
        if (accepted := self._accepted.get(preview.job_id)) is not None:
            accepted.preview = preview
            accepted.tell_watcher()

    def note_crash(self, lost: Iterable[Accepted]) -> None:
        """A worker is gone: of the jobs that it had none runs any more, and those that were running are suspect."""
        for accepted in lost:
            accepted.crashes += accepted.is_running
            accepted.is_running = False
            self.estimate.add(accepted.job, accepted.job.steps - accepted.steps_left)
            accepted.steps_left = accepted.job.steps

    def place(self, accepted: Sequence[Accepted]) -> Place:
        """Where these jobs of one request stand, accepted in this order; others before them end before them."""
        first, last = accepted[0].job.id, accepted[-1].job.id
        now = time.monotonic()
        if last not in self._line or now - self._line_drawn_at > LINE_SECONDS:
            waiting = (job_id for job_id, each in self._accepted.items() if not each.is_running)
            self._line = {job_id: position for position, job_id in enumerate(waiting)}
            self._line_drawn_at = now
        behind = len(self._line) - 1 - self._line.get(last, -1)
        share = 1 - behind / max(1, len(self._accepted))
        return Place(self._line.get(first, 0), max(0.0, share) * self.estimate.seconds())

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
        "worker": accepted.worker,
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
