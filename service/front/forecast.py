"""What becomes of the work of one worker: when each of its jobs is done, and when one more would be.

The engine (`service.engine.engine`) is played through, from one row that leaves to the next: in a round each model
with rows makes one step, rows that are done are decoded, and what waits takes their places in order. So a forecast
costs O(rows), however many steps they have. Guidance scales do not matter here: that jobs of one scale are taken before
older ones moves few of them, and never far.

Pure: times are seconds from now. Knows no ledger, no clock and no worker.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dit_serve.service.wire.job import Job


@dataclass(frozen=True, slots=True)
class Costs:
    """What work costs one worker, and what it has room for.

    Args:
        step_seconds: of a model's step with so many sequences.
        image_seconds: of a model's image beside its steps.
        places: most sequences that a batch of a model has.
        decodes_beside: whether the loop goes on while images are decoded.
        is_busy: whether others come as fast as these leave, so that steps stay as full as they are.
    """

    step_seconds: Callable[[str, int], float]
    image_seconds: Callable[[str], float]
    places: Callable[[str], int]
    decodes_beside: bool = False
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A job on its way.

    Args:
        job_id: which one.
        model: that makes it.
        sequences: places that it takes.
        steps: to go; one of none is being decoded.
        leaves: when it is given up if it is not done by then.
        is_wanted: whether its image will be made; a row that was given up leaves after the step under way.
    """

    job_id: int
    model: str
    sequences: int
    steps: int
    leaves: float = math.inf
    is_wanted: bool = True


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rounds in which nobody comes or leaves."""

    begins: float
    rounds: int
    round_seconds: float
    used: dict[str, int]


class Course:
    """What one worker will do.

    Args:
        costs: of its work.
        running: rows of its batches.
        waiting: those that come after, in order.
        begun_seconds: how long ago the step under way began.

    Attributes:
        ends: when each job leaves, by its id.
        idle_after: when all of them have.
    """

    def __init__(
        self, costs: Costs, running: Sequence[Row], waiting: Iterable[Row], begun_seconds: float = 0.0
    ) -> None:
        self.ends: dict[int, float] = {}
        self.idle_after = 0.0
        self._costs = costs
        self._stretches: list[_Stretch] = []
        self._line_ends: dict[str, int] = {}  # the stretch in which the last of a model that waits finds a place
        self._line_begins = 0
        self._prices: dict[tuple[str, int], float] = {}
        self._used: dict[str, int] = {}
        self._company: dict[str, int] = {}  # a step has no fewer sequences than this
        self._rounds = 0
        self._by_round: list[tuple[int, int, Row]] = []
        self._by_time: list[tuple[float, int, Row]] = []
        self._waiting: dict[str, deque[Row]] = {}
        for row in waiting:
            self._waiting.setdefault(row.model, deque()).append(row)
        self._play(running, begun_seconds)

    def end_behind(self, jobs: Sequence[Job]) -> float:
        """When all of these jobs would be done that came now, behind all others and with each other in batches.

        The model that ends last makes its steps beside the others; the steps of those are before that end.
        """
        by_model: dict[str, list[Job]] = {}
        for job in jobs:
            by_model.setdefault(job.model, []).append(job)
        turns = {model: _turns(own, self._costs.places(model)) for model, own in by_model.items()}
        ends = {model: self._end_beside(model, sequences, steps) for model, (sequences, steps) in turns.items()}
        last = max(ends, key=ends.__getitem__)
        own_steps = {model: steps * self._more(model, sequences) for model, (sequences, steps) in turns.items()}
        others = sum(own_steps.values()) - own_steps[last]
        images = [len(own) * self._costs.image_seconds(model) for model, own in by_model.items()]
        if self._costs.decodes_beside:
            images = [self._costs.image_seconds(last)]
        return ends[last] + others + sum(images)

    def put_off(self, seconds: float) -> None:
        """Has whoever comes wait for so much more work, which is not played through."""
        self.idle_after += seconds
        self._line_begins = len(self._stretches)

    def _end_beside(self, model: str, sequences: int, steps: int) -> float:
        """When a row behind all others has made its steps, which cost the others' rounds and its own part of them."""
        left, delay = steps, 0.0
        room = max(self._costs.places(model) - sequences, 0)
        for index in range(max(self._line_begins, self._line_ends.get(model, 0)), len(self._stretches)):
            stretch = self._stretches[index]
            used = stretch.used.get(model, 0)
            if left == steps and used > room:
                continue
            missed = int(index == 0)  # the step under way
            own = self._more(model, sequences, used)
            taken = min(left, stretch.rounds - missed)
            left -= taken
            if left == 0:
                return stretch.begins + delay + (taken + missed) * stretch.round_seconds + taken * own
            delay += taken * own
        alone = {**self._company, model: self._company.get(model, 0) + sequences}
        return self.idle_after + delay + left * sum(self._price(name, used) for name, used in alone.items())

    def _play(self, running: Sequence[Row], begun_seconds: float) -> None:
        now = 0.0
        for row in running:
            self._begin(row)
        if any(row.steps for row in running):
            now -= min(begun_seconds, self._round_seconds())
        else:
            self._admit(now)
        while self._by_round:
            now = self._retire(now)
            if self._stretches:  # the step under way takes nobody in
                self._admit(now)
            if self._costs.is_busy and not self._company and (self._stretches or not self._waiting):
                self._company = dict(self._used)
            if self._by_round:
                now = self._advance(now)
        self.idle_after = max(now, 0.0)

    def _advance(self, now: float) -> float:
        """Goes on until a row is done, or is given up: the new time."""
        seconds = self._round_seconds()
        rounds = self._by_round[0][0] - self._rounds
        if self._by_time and seconds:
            rounds = min(rounds, max(1, math.ceil((self._by_time[0][0] - now) / seconds)))
        if not self._stretches and self._waiting:
            rounds = 1
        self._stretches.append(_Stretch(now, rounds, seconds, dict(self._used)))
        self._rounds += rounds
        now += rounds * seconds
        while self._by_time and self._by_time[0][0] <= now:
            leaves, _, row = heapq.heappop(self._by_time)
            if row.job_id not in self.ends:
                self._leave(row, max(leaves, 0.0))
        return now

    def _retire(self, now: float) -> float:
        """Takes out what is done: the time when the loop goes on."""
        while self._by_round and (self._by_round[0][0] <= self._rounds or self._by_round[0][1] in self.ends):
            row = heapq.heappop(self._by_round)[2]
            if row.job_id in self.ends:
                continue
            seconds = self._costs.image_seconds(row.model) if row.is_wanted else 0.0
            self._leave(row, max(now + seconds, 0.0))
            now += 0.0 if self._costs.decodes_beside else seconds
        return now

    def _admit(self, now: float) -> None:
        """Takes in what there is room for, and one of each model in any case."""
        for model, line in self._waiting.items():
            while line and self._has_room(line[0]):
                row = line.popleft()
                self._line_ends[model] = len(self._stretches)
                if row.leaves > now:
                    self._begin(row)
                else:
                    self.ends[row.job_id] = max(row.leaves, 0.0)
        self._waiting = {model: line for model, line in self._waiting.items() if line}

    def _has_room(self, row: Row) -> bool:
        used = self._used.get(row.model, 0)
        return not used or used + row.sequences <= self._costs.places(row.model)

    def _begin(self, row: Row) -> None:
        if row.steps:
            self._used[row.model] = self._used.get(row.model, 0) + row.sequences
        rounds = row.steps if row.is_wanted else min(row.steps, 1)
        heapq.heappush(self._by_round, (self._rounds + rounds, row.job_id, row))
        if row.leaves < math.inf:
            heapq.heappush(self._by_time, (row.leaves, row.job_id, row))

    def _leave(self, row: Row, at: float) -> None:
        self.ends[row.job_id] = at
        if row.steps:
            self._used[row.model] -= row.sequences

    def _round_seconds(self) -> float:
        seconds = 0.0
        for model, used in self._used.items():
            seconds += self._price(model, max(used, self._company.get(model, 0)))
        return seconds

    def _more(self, model: str, sequences: int, used: int = 0) -> float:
        """How much longer a model's step takes with so many sequences beside those that it has."""
        company = max(used, self._company.get(model, 0))
        return self._price(model, company + sequences) - self._price(model, company)

    def _price(self, model: str, sequences: int) -> float:
        if not sequences:
            return 0.0
        key = model, sequences
        if key not in self._prices:
            self._prices[key] = self._costs.step_seconds(model, sequences)
        return self._prices[key]


def _turns(jobs: Sequence[Job], places: int) -> tuple[int, int]:
    """The sequences, on the average, and the steps of one model's jobs, each of which begins as soon as it has room."""
    under_way: list[tuple[int, int]] = []  # the step after which a job leaves, and its sequences
    begins = used = 0
    for job in jobs:
        while used and used + job.sequences > places:
            begins, freed = heapq.heappop(under_way)
            used -= freed
        heapq.heappush(under_way, (begins + job.spec.steps, job.sequences))
        used += job.sequences
    steps = max(end for end, _ in under_way)
    return round(sum(job.sequences * job.spec.steps for job in jobs) / steps), steps
