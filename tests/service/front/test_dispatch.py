"""Who gets which job: the least loaded worker the oldest, and suspects alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.front.dispatch import WINDOW_BATCHES, Dispatch
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped

BATCH = 4


@dataclass
class FakeWorker:
    """A worker that is up, or will be."""

    number: int
    is_up: bool = True
    is_given_up: bool = False
    places: dict[str, int] = field(default_factory=lambda: {"fake-64": BATCH, "fake-128": BATCH})


class World:
    """A ledger and a dispatch whose workers are up."""

    def __init__(self, workers: int) -> None:
        self.ledger = Ledger(workers)
        self.workers = [FakeWorker(number) for number in range(workers)]
        self.dispatch = Dispatch(self.ledger, self.workers)
        self._last = 0

    def enter(self, count: int = 1, steps: int = 10, scale: float = 1.0, model: str = "fake-64") -> None:
        for _ in range(count):
            self._last += 1
            self.ledger.enter(Job(self._last, "r", model, SampleSpec(0, 0, steps, scale)))

    def send(self) -> list[tuple[int, int]]:
        """All that can be sent now: (worker, job)."""
        sent = []
        while (accepted := self.dispatch.send_next()) is not None:
            assert accepted.worker is not None
            sent.append((accepted.worker, accepted.job.id))
        return sent

    def find(self, number: int) -> Accepted:
        accepted = self.ledger.find(number)
        assert accepted is not None
        return accepted

    @property
    def held(self) -> list[Accepted]:
        """All that any worker has."""
        return [accepted for load in self.ledger.loads for accepted in load.held.values()]

    def start(self, *numbers: int) -> None:
        self.ledger.started(Started(numbers, 0.0))

    def end(self, number: int) -> None:
        self.ledger.end(self.find(number), JobEnd(number, Outcome.COMPLETED))

    def crash(self, worker: int, *, is_expected: bool = True) -> None:
        self.workers[worker].is_up, self.workers[worker].is_given_up = False, not is_expected
        self.ledger.lost(worker)

    def come_back(self, worker: int) -> None:
        self.workers[worker].is_up, self.workers[worker].is_given_up = True, False


def with_world(workers: int, test: Callable[[World], None]) -> None:
    """Runs a test inside an event loop, as the ledger needs one for their promises."""

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
        world.workers[0].is_up = False
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
        for worker, number, seconds in ((0, 1, 1.0), (1, 2, 0.1)):
            world.ledger.stepped(Stepped((number,), "fake-64", 1, seconds, 0.0), worker)
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


def test_a_full_model_does_not_hold_up_another() -> None:
    def test(world: World) -> None:
        world.enter(100, model="fake-64")
        world.send()
        world.enter(model="fake-128")
        assert [number for _, number in world.send()] == [101]

    with_world(2, test)


def test_how_far_ahead_follows_the_places_that_a_worker_has() -> None:
    def test(world: World) -> None:
        world.workers[1].places["fake-64"] = 2  # memory ran out there
        world.enter(100)
        sent = Counter(worker for worker, _ in world.send())
        assert sent == {0: WINDOW_BATCHES * BATCH, 1: WINDOW_BATCHES * 2}

    with_world(2, test)


def test_a_job_larger_than_a_window_still_finds_an_idle_worker() -> None:
    def test(world: World) -> None:
        for worker in world.workers:
            worker.places["fake-64"] = 0
        world.enter(2, scale=4.0)
        assert world.send() == [(0, 1), (1, 2)]

    with_world(2, test)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_holds_nothing_gets_work_as_long_as_there_is_any(workers: int) -> None:
    def test(world: World) -> None:
        world.enter(200)
        while len(world.ledger):
            world.send()
            assert all(load.held for load in world.ledger.loads) or len(world.ledger) < workers
            for load in world.ledger.loads:
                for accepted in list(load.held.values())[:BATCH]:
                    world.end(accepted.job.id)

    with_world(workers, test)
