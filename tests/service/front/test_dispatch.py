"""Who gets which job: the least loaded worker the oldest, and suspects alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dit_serve.service.front.dispatch import WINDOW_BATCHES, Dispatch
from dit_serve.service.front.ledger import Accepted, Books
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped

BATCH = 4


class World:
    """Books and a dispatch whose workers are up."""

    def __init__(self, workers: int) -> None:
        self.books = Books()
        self.dispatch = Dispatch(workers, BATCH)
        self._last = 0
        for lane in self.dispatch.lanes:
            lane.is_up = True

    def enter(self, count: int = 1, steps: int = 10, scale: float = 1.0, resolution: int = 64) -> None:
        for _ in range(count):
            self._last += 1
            self.dispatch.add(self.books.enter(Job(self._last, "r", resolution, 0, 0, steps, scale, "ddim")))

    def send(self) -> list[tuple[int, int]]:
        """All that can be sent now: (worker, job)."""
        sent = []
        while (choice := self.dispatch.next()) is not None:
            sent.append((choice[0].number, choice[1].job.id))
        return sent

    def find(self, number: int) -> Accepted:
        accepted = self.books.find(number)
        assert accepted is not None
        return accepted

    def start(self, *numbers: int) -> None:
        self.books.note(Started(numbers))

    def end(self, number: int) -> None:
        accepted = self.find(number)
        self.books.end(accepted, JobEnd(number, Outcome.COMPLETED))
        self.dispatch.remove(accepted)

    def crash(self, worker: int, *, is_expected: bool = True) -> None:
        lane = self.dispatch.lanes[worker]
        lane.is_up, lane.is_expected = False, is_expected
        lost = self.dispatch.take_back(lane)
        self.books.note_crash(lost)
        self.dispatch.put_back(lost)

    def come_back(self, worker: int) -> None:
        self.dispatch.lanes[worker].is_up = self.dispatch.lanes[worker].is_expected = True


def with_world(workers: int, test: Callable[[World], None]) -> None:
    """Runs a test inside an event loop, as the books need one for their promises."""

    async def run() -> None:
        test(World(workers))

    asyncio.run(run())


def test_a_single_worker_is_sent_everything_in_order() -> None:
    def test(world: World) -> None:
        world.enter(100)
        assert world.send() == [(0, number) for number in range(1, 101)]
        assert world.send() == []

    with_world(1, test)


def test_nothing_is_sent_to_a_worker_that_is_not_up() -> None:
    def test(world: World) -> None:
        world.dispatch.lanes[0].is_up = False
        world.enter(2)
        assert world.send() == []
        world.come_back(0)
        assert world.send() == [(0, 1), (0, 2)]

    with_world(1, test)


def test_the_least_loaded_worker_takes_the_next_job() -> None:
    def test(world: World) -> None:
        world.enter(steps=30)
        world.enter(steps=10)
        world.enter(steps=10)
        world.enter(steps=10)
        assert world.send() == [(0, 1), (1, 2), (1, 3), (1, 4)]

    with_world(2, test)


def test_load_is_time_and_falls_with_each_step() -> None:
    def test(world: World) -> None:
        world.enter(steps=10)
        world.enter(steps=10)
        assert world.send() == [(0, 1), (1, 2)]
        slow, fast = world.dispatch.lanes
        for lane, number, seconds in ((slow, 1, 1.0), (fast, 2, 0.1)):
            step = Stepped((number,), 64, 1, seconds)
            world.dispatch.note_step(lane, step)
            world.books.note(step)
        world.enter(4, steps=10)
        assert {worker for worker, _ in world.send()} == {1}

    with_world(2, test)


def test_no_worker_of_several_is_sent_far_ahead() -> None:
    def test(world: World) -> None:
        world.enter(100)
        sent = world.send()
        assert len(sent) == 2 * WINDOW_BATCHES * BATCH
        world.end(sent[0][1])
        assert world.send() == [(sent[0][0], len(sent) + 1)]

    with_world(2, test)


def test_a_full_resolution_does_not_hold_up_another() -> None:
    def test(world: World) -> None:
        world.enter(100, resolution=64)
        world.send()
        world.enter(resolution=128)
        assert [number for _, number in world.send()] == [101]

    with_world(2, test)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_holds_nothing_gets_work_as_long_as_there_is_any(workers: int) -> None:
    def test(world: World) -> None:
        world.enter(200)
        while len(world.books):
            world.send()
            assert all(lane.held for lane in world.dispatch.lanes) or len(world.books) < workers
            for lane in world.dispatch.lanes:
                for accepted in list(lane.held.values())[:BATCH]:
                    world.end(accepted.job.id)

    with_world(workers, test)
