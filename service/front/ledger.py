"""The ledger: every accepted and unfinished job, where it is, and how much work is left.

A job is entered once and ended once. In between it waits here, or one worker has it:

    enter ─ waiting ─ send ─ with a worker ─ started ─ stepped … ─ end
               └───────────── lost ──────────────┘

Jobs that were running when a worker was lost are suspects, and wait apart: see `service.front.dispatch`, which chooses
what is sent where. Whatever verb moves a job, all sums that it is part of move with it. Knows no process and no
socket; every operation costs O(1) a job.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from opentelemetry.context import Context

from dit_serve.service.errors import Problem
from dit_serve.service.front.estimate import StepTimes, WorkEstimate
from dit_serve.service.front.tempo import Tempo
from dit_serve.service.telemetry.traces import current_context
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Preview, Started, Stepped


@dataclass(slots=True, eq=False)
class Accepted:
    """A job in the ledger, and the promise of its end.

    Args:
        job: what was asked.
        result: the image's end, or the problem that its client is told.
        steps_left: as last heard from the worker.
        accepted_at: monotonic seconds.
        leaves_at: when it is given up if it is not done by then, in monotonic seconds.
        crashes: how many crashes of a worker it was running in.
        worker: number of the worker that has it, None while it waits here.
        is_running: whether it has left the worker's queue.
        given_up: how it shall end once the worker has freed its row, None while its client waits.
        preview: the newest look at it, None before the first.
        started_at: when it last left the queue.
        stepped_at: when its newest step was done.
        first_step_at: when its first step was done, whatever happened to it later; 0 before.
        changed: called whenever there is something new to tell, and whether at once; None if nobody watches.
        context: of its request, for the traces.
    """

    job: Job
    result: asyncio.Future[JobEnd | Problem]
    steps_left: int
    accepted_at: float
    leaves_at: float = math.inf
    crashes: int = 0
    worker: int | None = None
    is_running: bool = False
    given_up: Outcome | None = None
    preview: Preview | None = None
    started_at: float = 0.0
    stepped_at: float = 0.0
    first_step_at: float = 0.0
    changed: Callable[[bool], None] | None = None
    context: Context = field(default_factory=current_context)

    @property
    def steps_done(self) -> int:
        """Steps made, as last heard from the worker."""
        return self.job.spec.steps - self.steps_left

    @property
    def work_left(self) -> int:
        """Sequence-steps to go."""
        return self.job.sequences * self.steps_left

    def tell_watcher(self, *, at_once: bool = False) -> None:
        """Wakes who watches."""
        if self.changed is not None:
            self.changed(at_once)


@dataclass(slots=True)
class Counters:
    """Jobs by what became of them; accepted = the sum of the ends + those in the ledger."""

    accepted: int = 0
    ended: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


@dataclass(slots=True)
class Load:
    """What one worker has.

    Args:
        held: its jobs by id, oldest first.
        sequences: how many they take, by model.
        estimate: how much work they are, at this worker's pace.
        tempo: what the work takes its present process.
    """

    held: OrderedDict[int, Accepted] = field(default_factory=OrderedDict)
    sequences: Counter[str] = field(default_factory=Counter)
    estimate: WorkEstimate = field(default_factory=WorkEstimate)
    tempo: Tempo = field(default_factory=Tempo)

    @property
    def is_trying_a_suspect(self) -> bool:
        """Whether it has a suspect, which must stay alone."""
        return len(self.held) == 1 and any(accepted.crashes for accepted in self.held.values())


class Ledger:
    """Every accepted and unfinished job, in the order of acceptance.

    Args:
        workers: how many there are.
        clock: monotonic seconds.

    Attributes:
        loads: what each worker has, by its number.
        sequences: rows of all jobs.
        estimate: how much work they are.
        times: what steps and images have taken.
        counters: what became of all jobs so far.
        census: (jobs, sequences) by model and by whether they have left a worker's queue.
    """

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.loads = tuple(Load() for _ in range(workers))
        self.sequences = 0
        self.estimate = WorkEstimate()
        self.times = StepTimes(clock)
        self._clock = clock
        self.counters = Counters()
        self.census: dict[tuple[str, bool], tuple[int, int]] = {}
        self._accepted: OrderedDict[int, Accepted] = OrderedDict()
        self._waiting: dict[str, OrderedDict[int, Accepted]] = {}
        self._suspects: OrderedDict[int, Accepted] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accepted)

    def __iter__(self) -> Iterator[Accepted]:
        return iter(list(self._accepted.values()))

    def oldest(self, most: int) -> list[Accepted]:
        """The jobs accepted first."""
        return list(islice(self._accepted.values(), most))

    @property
    def newest(self) -> Accepted | None:
        """The job accepted last."""
        return next(reversed(self._accepted.values()), None)

    def find(self, job_id: int) -> Accepted | None:
        """The job of this id, if it has not ended."""
        return self._accepted.get(job_id)

    def holds(self, model: str) -> bool:
        """Whether there is any job of this model."""
        return any(self.census.get((model, is_running), (0, 0))[0] for is_running in (False, True))

    @property
    def oldest_suspect(self) -> Accepted | None:
        """Of those that wait and were running when a worker was lost."""
        return next(iter(self._suspects.values()), None)

    @property
    def heads(self) -> list[Accepted]:
        """The oldest waiting job of each model, oldest first; suspects wait apart."""
        heads = (next(iter(queue.values())) for queue in self._waiting.values() if queue)
        return sorted(heads, key=_id)

    def enter(self, job: Job, within_seconds: float | None = None) -> Accepted:
        """Accepts a job, which is given up if it is not done within these seconds: it waits, behind all others."""
        leaves_at = math.inf if within_seconds is None else self._clock() + within_seconds
        result: asyncio.Future[JobEnd | Problem] = asyncio.get_running_loop().create_future()
        accepted = Accepted(job, result, job.spec.steps, self._clock(), leaves_at)
        self._accepted[job.id] = accepted
        self._queue(accepted)[job.id] = accepted
        self.counters.accepted += 1
        self._count(accepted, 1)
        return accepted

    def send(self, accepted: Accepted, worker: int) -> None:
        """Moves a waiting job to a worker."""
        del self._queue(accepted)[accepted.job.id]
        self._count(accepted, -1)
        accepted.worker = worker
        self.loads[worker].held[accepted.job.id] = accepted
        self._count(accepted, 1)

    def started(self, event: Started) -> list[Accepted]:
        """Jobs have left their worker's queue; those that have not ended."""
        known = self._known(event.job_ids)
        for accepted in known:
            self._count(accepted, -1)
            accepted.is_running, accepted.started_at = True, event.at
            self._count(accepted, 1)
            accepted.tell_watcher()
        return known

    def stepped(self, event: Stepped, worker: int) -> None:
        """Jobs of a worker have one step fewer to go."""
        known = self._known(event.job_ids)
        done = sum(accepted.job.sequences for accepted in known)
        seconds = self.loads[worker].tempo.step_seconds(event, self._is_under_way)
        self.times.stepped(event.model, event.sequences, seconds)
        for estimate in (self.estimate, self.loads[worker].estimate):
            estimate.observe(event)
            estimate.add(event.model, -done)
        for accepted in known:
            accepted.steps_left -= 1
            accepted.stepped_at = event.at
            accepted.first_step_at = accepted.first_step_at or event.at
            accepted.tell_watcher()

    def lost(self, worker: int) -> list[Accepted]:
        """A worker is gone: all that it had waits again in its old place, those that were running as suspects.

        Returns them, oldest first.
        """
        load = self.loads[worker]
        load.tempo = Tempo()
        lost = sorted(load.held.values(), key=_id)
        for accepted in lost:
            self._count(accepted, -1)
            del load.held[accepted.job.id]
            accepted.crashes += accepted.is_running
            accepted.worker, accepted.is_running, accepted.steps_left = None, False, accepted.job.spec.steps
            self._count(accepted, 1)
            self._queue(accepted)[accepted.job.id] = accepted
        for queue in (self._suspects, *self._waiting.values()):
            _put_in_order(queue)
        return lost

    def end(self, accepted: Accepted, end: JobEnd, problem: Problem | None = None) -> None:
        """Takes a job out, wherever it is, and keeps its promise; a job ends only once.

        Args:
            accepted: the job.
            end: how it ended.
            problem: what its client is told, None if it is the image.
        """
        del self._accepted[accepted.job.id]
        del (self._queue(accepted) if accepted.worker is None else self.loads[accepted.worker].held)[accepted.job.id]
        self._count(accepted, -1)
        self.counters.ended[end.outcome] += 1
        if end.outcome is Outcome.COMPLETED:
            tempo = Tempo() if accepted.worker is None else self.loads[accepted.worker].tempo
            self.times.imaged(accepted.job.model, tempo.image_seconds(end.timings, self._clock()))
        if not accepted.result.done():
            accepted.result.set_result(end if problem is None else problem)

    def previewed(self, preview: Preview) -> Accepted | None:
        """Keeps the newest look at a job, and returns the job; one that nobody has fetched is forgotten."""
        accepted = self._accepted.get(preview.job_id)
        if accepted is not None:
            accepted.preview = preview
            accepted.tell_watcher(at_once=True)
        return accepted

    def _is_under_way(self, job_id: int) -> bool:
        accepted = self._accepted.get(job_id)
        return accepted is not None and accepted.steps_left > 0 and accepted.given_up is None

    def _known(self, job_ids: Iterable[int]) -> list[Accepted]:
        return [self._accepted[job_id] for job_id in job_ids if job_id in self._accepted]

    def _queue(self, accepted: Accepted) -> OrderedDict[int, Accepted]:
        """Where a job waits that no worker has."""
        return self._suspects if accepted.crashes else self._waiting.setdefault(accepted.job.model, OrderedDict())

    def _count(self, accepted: Accepted, sign: int) -> None:
        """Counts a job into all sums as it stands, or out of them."""
        job, work = accepted.job, sign * accepted.work_left
        state = job.model, accepted.is_running
        jobs, sequences = self.census.get(state, (0, 0))
        self.census[state] = jobs + sign, sequences + sign * job.sequences
        self.sequences += sign * job.sequences
        self.estimate.add(job.model, work)
        if accepted.worker is not None:
            load = self.loads[accepted.worker]
            load.sequences[job.model] += sign * job.sequences
            load.estimate.add(job.model, work)


def _put_in_order(queue: OrderedDict[int, Accepted]) -> None:
    for job_id in sorted(queue):
        queue.move_to_end(job_id)


def _id(accepted: Accepted) -> int:
    return accepted.job.id
