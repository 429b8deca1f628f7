"""What is ahead of all accepted work: the forecast of every worker, drawn from the ledger when somebody asks.

A drawing costs time in the event loop, so that it serves all who ask soon after: the longer it took, the longer, and
drawing never takes more than a small part of the loop. Who came since is put behind. Beyond some hundred jobs the
line is not played through, but reckoned from the work in it.

Knows no process and no HTTP.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from dit_serve.service.front.estimate import Pace
from dit_serve.service.front.forecast import Costs, Course, Row
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.wire.job import Job

MOST_PLAYED = 256  # jobs that wait for one worker and are played through; those after them are reckoned
DRAWING_SHARE = 0.05  # of the time, at the most
BURST_SECONDS = 1.0  # jobs that came within this time may have been the last ones for now


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


@dataclass(slots=True)
class _Drawing:
    """The outlook at one moment; times are seconds from then.

    Args:
        at: when, in monotonic seconds.
        courses: of the workers that are up, by number.
        ends: when each job leaves, by its id.
        positions: of those that do not run, by id.
        releases: when how many places are free again, all together, in order of time.
        took_seconds: to draw.
    """

    at: float
    courses: list[Course]
    ends: dict[int, float]
    positions: dict[int, int]
    releases: list[tuple[float, int]]
    took_seconds: float = 0.0


class Outlook:
    """Tells when things will be.

    Args:
        ledger: every accepted job.
        workers: in the order of their numbers.
        most_places: that a batch has where no worker has said it.
        decodes_beside: whether the workers go on with steps while they decode.
        clock: monotonic seconds.
    """

    def __init__(
        self, ledger: Ledger, workers: Sequence[Runner], most_places: int, *,
        decodes_beside: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._workers = workers
        self._most_places = most_places
        self._decodes_beside = decodes_beside
        self._clock = clock
        self._drawings: dict[Pace, _Drawing] = {}

    def place(self, accepted: Sequence[Accepted]) -> Place:
        """Where these jobs of one request stand."""
        positions = self._drawing(Pace.USUAL).positions
        first = accepted[0]
        position = 0 if first.is_running else positions.get(first.job.id, len(positions))
        etas = [self.eta_seconds(each) for each in accepted]
        return Place(position, None if None in etas else max(eta for eta in etas if eta is not None))

    def eta_seconds(self, accepted: Accepted) -> float | None:
        """Predicted time until this job's image is done; None before a step of its model was measured."""
        job = accepted.job
        if not self._ledger.times.is_measured(job.model):
            return None
        drawing = self._drawing(Pace.USUAL)
        ends = drawing.ends.get(job.id)
        if ends is None:
            ends = self._end_behind(drawing, [job])
        return max(0.0, drawing.at + ends - self._clock())

    def finish_seconds(self, jobs: Sequence[Job], pace: Pace) -> float:
        """Predicted time until the jobs of one request would be done, if it were accepted now.

        Args:
            jobs: of one model, alike.
            pace: of the steps.
        """
        drawing = self._drawing(pace)
        return max(0.0, drawing.at + self._end_behind(drawing, jobs) - self._clock())

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

    def _drawing(self, pace: Pace) -> _Drawing:
        drawing, now = self._drawings.get(pace), self._clock()
        if drawing is None or now - drawing.at >= drawing.took_seconds / DRAWING_SHARE:
            drawing = self._drawings[pace] = self._draw(pace, now)
            drawing.took_seconds = self._clock() - now
        return drawing

    def _draw(self, pace: Pace, now: float) -> _Drawing:
        up = [worker for worker in self._workers if worker.is_up] or list(self._workers[:1])
        accepted = list(self._ledger)
        waiting = (each for each in accepted if not each.is_running)
        positions = {each.job.id: position for position, each in enumerate(waiting)}
        is_busy = pace is Pace.USUAL and _keep_coming(accepted, now)
        shared = self._shared([each for each in accepted if each.worker is None], up)
        courses = [
            self._course(self._costs(worker, pace, is_busy), worker.number, shared[worker.number], now) for worker in up
        ]
        ends = {job_id: end for course in courses for job_id, end in course.ends.items()}
        return _Drawing(now, courses, ends, positions, _releases(accepted, ends))

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

    def _course(self, costs: Costs, number: int, unsent: Sequence[Accepted], now: float) -> Course:
        running: list[Row] = []
        waiting: list[Row] = []
        heard_at = 0.0
        for each in (*self._ledger.loads[number].held.values(), *unsent):
            if each.is_running:
                running.append(_row(each, now))
                heard_at = max(heard_at, each.stepped_at, each.started_at)
            elif each.given_up is None:
                waiting.append(_row(each, now))
        course = Course(costs, running, waiting[:MOST_PLAYED], max(0.0, now - heard_at))
        course.reckon(waiting[MOST_PLAYED:])
        return course

    def _costs(self, worker: Runner, pace: Pace, is_busy: bool) -> Costs:
        times, places, most = self._ledger.times, worker.places, self._most_places
        return Costs(
            step_seconds=lambda model, sequences: times.step_seconds(model, sequences, pace),
            image_seconds=lambda model: times.image_seconds(model, pace),
            places=lambda model: places.get(model, most),
            decodes_beside=self._decodes_beside(),
            is_busy=is_busy,
        )

    def _end_behind(self, drawing: _Drawing, jobs: Sequence[Job]) -> float:
        """When jobs would be done that came at the moment of the drawing, shared by the workers."""
        job, share = jobs[0], math.ceil(len(jobs) / len(drawing.courses))
        return min(course.end_behind(job, share) for course in drawing.courses)


def _row(accepted: Accepted, now: float) -> Row:
    job = accepted.job
    return Row(job.id, job.model, job.sequences, accepted.steps_left, accepted.leaves_at - now, not accepted.given_up)


def _keep_coming(accepted: Sequence[Accepted], now: float) -> bool:
    """Whether jobs keep coming: the newest one is much younger than the oldest one."""
    if not accepted:
        return False
    return now - accepted[-1].accepted_at < max(BURST_SECONDS, (now - accepted[0].accepted_at) / 2)


def _releases(accepted: Sequence[Accepted], ends: Mapping[int, float]) -> list[tuple[float, int]]:
    in_order = sorted((ends.get(each.job.id, 0.0), each.job.sequences) for each in accepted)
    return list(zip((end for end, _ in in_order), accumulate(places for _, places in in_order), strict=True))
