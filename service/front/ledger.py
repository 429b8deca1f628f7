"""The accepted jobs: where each stands, what each has cost, and how much work is left.

Knows no process and no socket; `service.front.front` decides what happens next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from opentelemetry.context import Context

from dit_serve.service.errors import JobCancelled, JobExpired, Problem
from dit_serve.service.front.estimate import WorkEstimate
from dit_serve.service.telemetry.traces import current_context, record_job
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Preview, Started, Stepped

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
        steps_when_given_up: how many were made by then, as last heard from the worker.
        preview: the newest look at it, None before the first.
        started_at: monotonic seconds, when it last left the queue.
        first_step_at: monotonic seconds, when its first step was told, whatever happened to it later; 0 before.
        changed: set whenever there is something new to tell, None if nobody watches.
        context: of its request, for the traces.
    """

    job: Job
    result: asyncio.Future[JobEnd | Problem]
    steps_left: int
    accepted_at: float = field(default_factory=time.monotonic)
    crashes: int = 0
    worker: int | None = None
    is_running: bool = False
    given_up: Outcome | None = None
    steps_when_given_up: int = 0
    preview: Preview | None = None
    started_at: float = 0.0
    first_step_at: float = 0.0
    changed: asyncio.Event | None = None
    context: Context = field(default_factory=current_context)

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
    """Jobs by what became of them; accepted = the sum of the ends + those on the books."""

    accepted: int = 0
    ended: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


@dataclass(slots=True)
class Census:
    """The unfinished jobs in numbers.

    Args:
        jobs, sequences: by (resolution, whether it has left the worker's queue).
    """

    jobs: Counter[tuple[int, bool]] = field(default_factory=Counter)
    sequences: Counter[tuple[int, bool]] = field(default_factory=Counter)

    def count(self, accepted: Accepted, sign: int) -> None:
        """Counts a job in as it stands, or out."""
        state = accepted.job.resolution, accepted.is_running
        self.jobs[state] += sign
        self.sequences[state] += sign * accepted.job.sequences

    def move(self, accepted: Accepted, *, is_running: bool) -> None:
        """Notes that a job has left the queue, or is back in it."""
        self.count(accepted, -1)
        accepted.is_running = is_running
        self.count(accepted, 1)


class Books:
    """Every accepted and unfinished job, in the order of acceptance."""

    def __init__(self) -> None:
        self.sequences = 0
        self.estimate = WorkEstimate()
        self.counters = Counters()
        self.census = Census()
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
        self.census.count(accepted, 1)
        self.estimate.add(job, job.steps)
        return accepted

    def note(self, event: Started | Stepped) -> None:
        """Writes down what the worker told."""
        if isinstance(event, Stepped):
            self.estimate.observe(event)
        for accepted in (self._accepted[job_id] for job_id in event.job_ids if job_id in self._accepted):
            if isinstance(event, Started):
                self.census.move(accepted, is_running=True)
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
                accepted.first_step_at = accepted.first_step_at or time.monotonic()
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
            self.census.move(accepted, is_running=False)
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

    def end(self, accepted: Accepted, end: JobEnd, problem: Problem | None = None) -> JobEnd:
        """Takes a job off the books and keeps its promise; a job ends only once. Returns the end with the whole wait.

        Args:
            accepted: the job.
            end: how it ended, as the log shall say.
            problem: what its client is told, None if it is the image.
        """
        del self._accepted[accepted.job.id]
        self.sequences -= accepted.job.sequences
        self.estimate.add(accepted.job, -accepted.steps_left)
        self.counters.ended[end.outcome] += 1
        self.census.count(accepted, -1)
        end = _with_whole_wait(accepted, end)
        _log_end(accepted, end)
        record_job(accepted.job, end, accepted.context)
        if not accepted.result.done():
            accepted.result.set_result(end if problem is None else problem)
        return end


def told_when_given_up(outcome: Outcome) -> Problem:
    """What the client of a job that was given up is told."""
    if outcome is Outcome.EXPIRED:
        return JobExpired("the deadline passed, or the service was shut down, before the image was finished")
    return JobCancelled("the client went away")


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
    if accepted.given_up is not None:
        fields["steps_after_given_up"] = accepted.steps_done - accepted.steps_when_given_up
    if end.reason:
        fields["reason"] = end.reason
    level = logging.ERROR if end.outcome is Outcome.FAILED else logging.INFO
    logging.getLogger("dit.job").log(level, "job %s", end.outcome.value, extra={"fields": fields})
