"""Which waiting job goes to which worker, and when.

The oldest job goes to the worker with the least work left among those that have room. With several
workers none is sent more than some batches ahead, so that a worker that comes back finds work to
take; a single one is sent everything, and its own queue (`service.engine.queue`) sees all groups.

Jobs that were running when a worker died are suspects: each is tried alone, on a worker that has
nothing else, so that the one that brings workers down does so alone. The others go on in batches
meanwhile. Only when every other worker is busy and no new one is on its way does one of them
take no more jobs until it is free for the suspects.

Every operation costs O(1) for a job and O(workers) for a choice. Knows no process and no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dit_serve.service.front.estimate import WorkEstimate
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.wire.job import Stepped

WINDOW_BATCHES = 4


@dataclass(slots=True, eq=False)
class Lane:
    """One worker, as the dispatcher sees it.

    Args:
        number: which one; also its place among the lanes.
        is_up: it takes jobs.
        is_expected: it is up, or hoped to be soon.
        held: the jobs that it has, by id.
        sequences: how many they take, by resolution.
        estimate: how much work they are, at this worker's pace.
    """

    number: int
    is_up: bool = False
    is_expected: bool = True
    held: OrderedDict[int, Accepted] = field(default_factory=OrderedDict)
    sequences: dict[int, int] = field(default_factory=dict)
    estimate: WorkEstimate = field(default_factory=WorkEstimate)

    @property
    def is_trying_a_suspect(self) -> bool:
        """Whether it has a suspect, which must stay alone."""
        return any(accepted.crashes for accepted in self.held.values()) if len(self.held) == 1 else False

    def put(self, accepted: Accepted) -> None:
        """Takes a job in."""
        accepted.worker = self.number
        self.held[accepted.job.id] = accepted
        self._count(accepted, 1)

    def drop(self, accepted: Accepted) -> None:
        """Lets a job go."""
        accepted.worker = None
        del self.held[accepted.job.id]
        self._count(accepted, -1)

    def _count(self, accepted: Accepted, sign: int) -> None:
        job = accepted.job
        self.sequences[job.resolution] = self.sequences.get(job.resolution, 0) + sign * job.sequences
        self.estimate.add(job, sign * accepted.steps_left)


class Dispatch:
    """The jobs that wait to be sent, and the workers that they can be sent to.

    Args:
        workers: how many there are.
        max_batch_sequences: what one of them runs at once.
    """

    def __init__(self, workers: int, max_batch_sequences: int) -> None:
        self.lanes = tuple(Lane(number) for number in range(workers))
        self._window = WINDOW_BATCHES * max_batch_sequences if workers > 1 else None
        self._waiting: dict[int, OrderedDict[int, Accepted]] = {}
        self._suspects: OrderedDict[int, Accepted] = OrderedDict()
        self._cleared: Lane | None = None  # takes no more jobs, to become free for a suspect

    def add(self, accepted: Accepted) -> None:
        """Puts a new job at the end."""
        self._queue(accepted)[accepted.job.id] = accepted

    def remove(self, accepted: Accepted) -> None:
        """Takes a job away, wherever it is."""
        if accepted.worker is not None:
            self.lanes[accepted.worker].drop(accepted)
        else:
            del self._queue(accepted)[accepted.job.id]

    def note_step(self, lane: Lane, event: Stepped) -> None:
        """Writes down a step, before the jobs' own `steps_left` are lowered."""
        lane.estimate.observe(event)
        for accepted in (lane.held[job_id] for job_id in event.job_ids if job_id in lane.held):
            lane.estimate.add(accepted.job, -1)

    def take_back(self, lane: Lane) -> list[Accepted]:
        """The jobs of a worker that is gone, oldest first: none of them is on a lane or waits any more."""
        lost = sorted(lane.held.values(), key=_id)
        for accepted in lost:
            lane.drop(accepted)
        return lost

    def put_back(self, jobs: Iterable[Accepted]) -> None:
        """Puts jobs where their age belongs; those with crashes among the suspects."""
        for accepted in jobs:
            self.add(accepted)
        for resolution, queue in self._waiting.items():
            self._waiting[resolution] = _in_order(queue)
        self._suspects = _in_order(self._suspects)

    def next(self) -> tuple[Lane, Accepted] | None:
        """The next job to send and to whom, written down as sent; None if nothing can be sent now."""
        return self._next_suspect() or self._next_waiting()

    def _next_suspect(self) -> tuple[Lane, Accepted] | None:
        free = [lane for lane in self.lanes if lane.is_up and not lane.held]
        if not self._suspects or not free:
            return None
        self._cleared = None
        accepted = next(iter(self._suspects.values()))
        return self._sent(free[0], accepted)

    def _next_waiting(self) -> tuple[Lane, Accepted] | None:
        lanes = self._open_lanes()
        heads = [next(iter(queue.values())) for queue in self._waiting.values() if queue]
        for accepted in sorted(heads, key=_id):
            able = [lane for lane in lanes if self._has_room(lane, accepted)]
            if able:
                return self._sent(_idlest(able), accepted)
        return None

    def _open_lanes(self) -> list[Lane]:
        lanes = [lane for lane in self.lanes if lane.is_up and not lane.is_trying_a_suspect]
        is_place_coming = any(
            lane.is_trying_a_suspect or (lane.is_expected and not lane.is_up) for lane in self.lanes
        )
        if not self._suspects or is_place_coming:
            self._cleared = None
        elif lanes and self._cleared not in lanes:
            self._cleared = _idlest(lanes)
        return [lane for lane in lanes if lane is not self._cleared]

    def _has_room(self, lane: Lane, accepted: Accepted) -> bool:
        job = accepted.job
        return self._window is None or lane.sequences.get(job.resolution, 0) + job.sequences <= self._window

    def _sent(self, lane: Lane, accepted: Accepted) -> tuple[Lane, Accepted]:
        del self._queue(accepted)[accepted.job.id]
        lane.put(accepted)
        return lane, accepted

    def _queue(self, accepted: Accepted) -> OrderedDict[int, Accepted]:
        """Where a job waits when it is not sent."""
        return self._suspects if accepted.crashes else self._waiting.setdefault(accepted.job.resolution, OrderedDict())


def _idlest(lanes: list[Lane]) -> Lane:
    return min(lanes, key=lambda lane: (lane.estimate.seconds(), len(lane.held)))


def _in_order(queue: OrderedDict[int, Accepted]) -> OrderedDict[int, Accepted]:
    return OrderedDict((accepted.job.id, accepted) for accepted in sorted(queue.values(), key=_id))


def _id(accepted: Accepted) -> int:
    return accepted.job.id
