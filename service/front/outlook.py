"""What is ahead of all accepted work: the forecast of every worker, drawn from the ledger when somebody asks.

A drawing costs time in the event loop, so that it serves all who ask soon after: the longer it took, the longer, and
drawing never takes more than a small part of the loop. Who came since is put behind. Beyond some hundred jobs the
line is not played through, but reckoned from the work in it.

Knows no process and no HTTP.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from dit_serve.models.options import ModelInfo
from dit_serve.service.front.estimate import Pace
from dit_serve.service.front.forecast import Costs, Course, Row
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.wire.job import Job

MOST_PLAYED = 256  # jobs a worker that are played through; those after them are reckoned
RELEASES = 32  # of the places of those that are reckoned
DRAWING_SHARE = 0.05  # of the time, as a rule
MOST_SECONDS = 0.5  # a drawing that took longer than it should have, on a busy machine, is not kept for long either


class Runner(Protocol):
    """A worker, as far as the outlook depends on it."""

    @property
    def number(self) -> int: ...

    @property
    def is_up(self) -> bool: ...

    @property
    def places(self) -> Mapping[str, int]:
        """The most rows that a batch of each model may have there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs that belong together stand.

    Args:
        position: how many accepted jobs before the first of them do not run yet.
        eta_seconds: predicted time until the last of them is done, None before a step of their model was measured.
    """

    position: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Rest:
    """Jobs that were not played through, as if they were alike and none of their numbers missing.

    Args:
        first_id: the lowest number.
        newest_id: the highest.
        position: of the first.
        jobs: how many they are.
        begins: when the first of them leaves, in seconds.
        ends: when the last does.
    """

    first_id: int
    newest_id: int
    position: int
    jobs: int
    begins: float
    ends: float

    def part(self, job_id: int) -> float:
        """How much of the way from the first to the last a job stands, 0 to 1."""
        return min(1.0, max(0.0, (job_id - self.first_id) / max(1, self.newest_id - self.first_id)))


@dataclass(slots=True)
class _Drawing:
    """The outlook at one moment; times are seconds from then.

    Args:
        at: when, in monotonic seconds.
        courses: of the workers that are up.
        ends: when each job leaves, by its number.
        positions: of those that do not run, by number.
        releases: when how many places are free again, all together, in order of time.
        rest: what comes after all these, if there is more.
        took_seconds: to draw.
    """

    at: float
    courses: list[Course]
    ends: dict[int, float]
    positions: dict[int, int]
    releases: list[tuple[float, int]]
    rest: _Rest | None
    took_seconds: float = 0.0

    def end(self, job_id: int) -> float | None:
        """When a job leaves, None if it has come since."""
        if job_id in self.ends or self.rest is None or job_id > self.rest.newest_id:
            return self.ends.get(job_id)
        return self.rest.begins + self.rest.part(job_id) * (self.rest.ends - self.rest.begins)

    def position(self, job_id: int) -> int:
        """How many jobs before it do not run, behind all if it has come since."""
        if job_id in self.positions or self.rest is None:
            return self.positions.get(job_id, len(self.positions))
        return self.rest.position + round(self.rest.part(job_id) * self.rest.jobs)


class Outlook:
    """Tells when things will be.

    Args:
        ledger: every accepted job.
        workers: in the order of their numbers.
        most_places: that a batch has where no worker has said it.
        models: what is loaded, by name.
        clock: monotonic seconds.
    """

    def __init__(
        self, ledger: Ledger, workers: Sequence[Runner], most_places: int,
        models: Callable[[], Mapping[str, ModelInfo]], *, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._workers = workers
        self._most_places = most_places
        self._models = models
        self._clock = clock
        self._drawings: dict[Pace, _Drawing] = {}

    def place(self, accepted: Sequence[Accepted]) -> Place:
        """Where these jobs of one request stand."""
        first, drawing = accepted[0], self._drawing(Pace.USUAL)
        position = 0 if first.is_running else drawing.position(first.job.id)
        etas = [self.eta_seconds(each) for each in accepted]
        if new := [each.job for each in accepted if drawing.end(each.job.id) is None]:
            etas.append(self.finish_seconds(new, Pace.USUAL))  # of which each alone would be done sooner
        return Place(position, None if None in etas else max(eta for eta in etas if eta is not None))

    def eta_seconds(self, accepted: Accepted) -> float | None:
        """Predicted time until this job's image is done; None before a step of its model was measured."""
        job = accepted.job
        if not self._ledger.times.is_measured(job.model):
            return None
        drawing = self._drawing(Pace.USUAL)
        ends = drawing.end(job.id)
        if ends is None:
            ends = _end_behind(drawing, [job])
        return max(0.0, drawing.at + ends - self._clock())

    def finish_seconds(self, jobs: Sequence[Job], pace: Pace) -> float:
        """Predicted time until the jobs of one request, of whatever models, would be done, if it were accepted now."""
        drawing = self._drawing(pace)
        return max(0.0, drawing.at + _end_behind(drawing, jobs) - self._clock())

    def seconds_until_free(self, wanted: int) -> float:
        """Predicted time until so many of the places that are taken now are free, if nobody else comes.

        More than all of them are free when those that come in their place are done, too.
        """
        drawing = self._drawing(Pace.USUAL)
        if not drawing.releases:
            return 0.0
        all_end, held = drawing.releases[-1]
        turns, rest = divmod(max(wanted, 1) - 1, held)
        ends = drawing.releases[bisect_left(drawing.releases, rest + 1, key=lambda release: release[1])][0]
        return max(0.0, drawing.at + turns * all_end + ends - self._clock())

    def seconds_until_empty(self) -> float:
        """Predicted time until all accepted work is done."""
        return self.seconds_until_free(self._ledger.sequences)

    def places(self, model: str) -> int:
        """The most rows that a batch of a model has, on the worker where it has most."""
        return max((worker.places.get(model, 0) for worker in self._workers), default=0) or self._most_places

    def _drawing(self, pace: Pace) -> _Drawing:
        drawing, now = self._drawings.get(pace), self._clock()
        if drawing is None or now - drawing.at >= min(drawing.took_seconds / DRAWING_SHARE, MOST_SECONDS):
            drawing = self._drawings[pace] = self._draw(pace, now)
            drawing.took_seconds = self._clock() - now
        return drawing

    def _draw(self, pace: Pace, now: float) -> _Drawing:
        up = [worker for worker in self._workers if worker.is_up] or list(self._workers[:1])
        accepted = self._ledger.oldest(MOST_PLAYED * len(up))
        waiting = (each for each in accepted if not each.is_running)
        positions = {each.job.id: position for position, each in enumerate(waiting)}
        is_busy = pace is Pace.USUAL and self._keep_coming(now)
        shared = self._shared([each for each in accepted if each.worker is None], up)
        for each in accepted:
            if each.worker is not None:
                shared.setdefault(each.worker, []).append(each)
        courses = [_course(self._costs(worker, pace, is_busy), shared[worker.number], now) for worker in up]
        ends = {job_id: end for course in courses for job_id, end in course.ends.items()}
        releases = _releases(accepted, ends)
        rest = self._reckon(accepted, len(positions), courses, releases, pace)
        return _Drawing(now, courses, ends, positions, releases, rest)

    def _shared(self, unsent: Sequence[Accepted], workers: Sequence[Runner]) -> dict[int, list[Accepted]]:
        """What each worker will be sent: the next job goes to the one with the least work."""
        times = self._ledger.times
        prices = {model: times.step_seconds(model, 1, Pace.USUAL) for model in {each.job.model for each in unsent}}
        loads = {worker.number: self._ledger.loads[worker.number].estimate.seconds() for worker in workers}
        shared: dict[int, list[Accepted]] = {number: [] for number in loads}
        for each in unsent:
            number = min(loads, key=loads.__getitem__)
            loads[number] += each.work_left * prices[each.job.model]
            shared[number].append(each)
        return shared

    def _costs(self, worker: Runner, pace: Pace, is_busy: bool) -> Costs:
        times, places, most = self._ledger.times, worker.places, self._most_places
        return Costs(
            step_seconds=lambda model, sequences: times.step_seconds(model, sequences, pace),
            image_seconds=lambda model: times.image_seconds(model, pace),
            places=lambda model: places.get(model, most),
            decodes_beside=all(info.device != "cpu" for info in self._models().values()),  # see `workers.process`
            is_busy=is_busy,
        )

    def _reckon(
        self, played: Sequence[Accepted], position: int, courses: Sequence[Course],
        releases: list[tuple[float, int]], pace: Pace,
    ) -> _Rest | None:
        """The jobs after those that were played through, done as fast as full batches are; adds to `releases`."""
        ledger, newest = self._ledger, self._ledger.newest
        jobs = len(ledger) - len(played)
        if newest is None or not jobs:
            return None
        done: Counter[str] = Counter()
        for each in played:
            done[each.job.model] += each.work_left
        most = self._most_places
        seconds = sum(
            (ledger.estimate.work_of(model) - done[model]) * ledger.times.step_seconds(model, most, pace) / most
            for model in ledger.estimate.models
        ) / len(courses)
        begins = sum(course.idle_after for course in courses) / len(courses)
        for course in courses:
            course.put_off(seconds)
        free = releases[-1][1]
        for part in range(1, RELEASES + 1):
            places = free + (ledger.sequences - free) * part // RELEASES
            releases.append((max(begins + seconds * part / RELEASES, releases[-1][0]), places))
        return _Rest(played[-1].job.id + 1, newest.job.id, position, jobs, begins, begins + seconds)

    def _keep_coming(self, now: float) -> bool:
        """Whether jobs keep coming, and did not all come together: the newest is much younger than the oldest."""
        oldest, newest = self._ledger.oldest(1), self._ledger.newest
        if newest is None:
            return False
        return 2 * (now - newest.accepted_at) < now - oldest[0].accepted_at


def _end_behind(drawing: _Drawing, jobs: Sequence[Job]) -> float:
    """When jobs would be done that came at the moment of the drawing: each worker has its share of every kind."""
    alike = sorted(jobs, key=lambda job: (job.model, -job.sequences * job.spec.steps))
    share = sorted(alike[:: len(drawing.courses)], key=lambda job: job.id)
    return min(course.end_behind(share) for course in drawing.courses)


def _row(accepted: Accepted, now: float) -> Row:
    job = accepted.job
    return Row(job.id, job.model, job.sequences, accepted.steps_left, accepted.leaves_at - now, not accepted.given_up)


def _course(costs: Costs, accepted: Sequence[Accepted], now: float) -> Course:
    running: list[Row] = []
    waiting: list[Row] = []
    heard_at = 0.0
    for each in accepted:
        if each.is_running:
            running.append(_row(each, now))
            heard_at = max(heard_at, each.stepped_at, each.started_at)
        elif each.given_up is None:
            waiting.append(_row(each, now))
    waiting.sort(key=lambda row: row.job_id)
    return Course(costs, running, waiting, max(0.0, now - heard_at))


def _releases(accepted: Sequence[Accepted], ends: Mapping[int, float]) -> list[tuple[float, int]]:
    in_order = sorted((ends.get(each.job.id, 0.0), each.job.sequences) for each in accepted)
    return list(zip((end for end, _ in in_order), accumulate(places for _, places in in_order), strict=True))
