"""Who gets which job: the least loaded worker the oldest, and suspects alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.books import Accepted, Books
from service.dispatch import WINDOW_BATCHES, Dispatch
from service.job import Job, JobEnd, Outcome, Started, Stepped

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


def test_after_a_crash_the_suspects_go_out_one_by_one_and_the_others_after_them() -> None:
    def test(world: World) -> None:
        world.enter(4)
        world.send()
        world.start(2, 3)
        world.crash(0)
        assert world.send() == []
        world.come_back(0)
        assert world.send() == [(0, 2)]
        world.end(2)
        assert world.send() == [(0, 3)]
        world.end(3)
        assert world.send() == [(0, 1), (0, 4)]

    with_world(1, test)


def test_a_crash_before_any_job_ran_makes_no_suspects() -> None:
    def test(world: World) -> None:
        world.enter(2)
        world.send()
        world.crash(0)
        world.come_back(0)
        assert world.send() == [(0, 1), (0, 2)]

    with_world(1, test)


def test_jobs_that_were_not_running_go_to_the_other_worker_at_once() -> None:
    def test(world: World) -> None:
        world.enter(4)
        sent = world.send()
        lost = [number for worker, number in sent if worker == 0]
        world.start(lost[0])
        world.crash(0)
        assert world.send() == [(1, lost[1])]

    with_world(2, test)


def test_a_suspect_waits_for_the_new_worker_while_the_other_goes_on() -> None:
    def test(world: World) -> None:
        world.enter(2)
        world.send()
        world.start(1, 2)
        world.crash(0)
        assert world.send() == []  # worker 1 is at work, and worker 0 will come back
        world.enter(2)
        assert [worker for worker, _ in world.send()] == [1, 1]
        world.come_back(0)
        assert world.send() == [(0, 1)]
        world.enter()
        assert world.send() == [(1, 5)]  # nobody joins the suspect

    with_world(2, test)


def test_an_idle_worker_takes_a_suspect_at_once() -> None:
    def test(world: World) -> None:
        world.enter()
        world.send()
        world.start(1)
        world.crash(0)
        assert world.send() == [(1, 1)]

    with_world(2, test)


def test_suspects_are_tried_by_several_workers_at_once_each_alone() -> None:
    def test(world: World) -> None:
        world.enter(4)
        world.send()
        world.start(1, 2, 3, 4)
        for worker in (0, 1):
            world.crash(worker)
        for worker in (0, 1):
            world.come_back(worker)
        world.enter(2)
        assert world.send() == [(0, 1), (1, 2)]
        world.end(2)
        assert world.send() == [(1, 3)]

    with_world(2, test)


def test_a_busy_worker_is_cleared_for_suspects_when_no_other_will_come() -> None:
    def test(world: World) -> None:
        world.enter(3)
        world.send()  # jobs 1 and 3 to worker 0
        world.start(1, 2, 3)
        world.crash(0, is_expected=False)
        world.enter(3)
        assert world.send() == []
        world.end(2)
        assert world.send() == [(1, 1)]
        world.end(1)
        assert world.send() == [(1, 3)]
        world.end(3)
        assert world.send() == [(1, 4), (1, 5), (1, 6)]

    with_world(2, test)


def test_the_cleared_worker_stays_the_same_until_it_is_free() -> None:
    def test(world: World) -> None:
        world.enter(3, steps=10)
        world.send()
        world.start(1, 2, 3)
        world.crash(0, is_expected=False)
        for _ in range(3):
            world.enter(2, steps=100)
            assert {worker for worker, _ in world.send()} <= {2}
        world.end(2)
        assert (1, 1) in world.send()

    with_world(3, test)


def test_a_waiting_job_and_a_waiting_suspect_can_be_removed() -> None:
    def test(world: World) -> None:
        world.enter(3)
        world.send()
        world.start(1, 2)
        world.crash(0)
        world.end(1)
        world.end(3)
        world.come_back(0)
        assert world.send() == [(0, 2)]

    with_world(1, test)


ACTIONS = st.lists(st.sampled_from(["enter", "start", "step", "end", "crash", "back"]), max_size=120)


@given(ACTIONS, st.integers(1, 3), st.randoms(use_true_random=False))
def test_whatever_happens_suspects_are_alone_nothing_is_lost_and_the_figures_are_right(
    actions: list[str], workers: int, source: Random
) -> None:
    pick = source.choice

    def act(world: World, action: str) -> None:
        held = [accepted for lane in world.dispatch.lanes for accepted in lane.held.values()]
        lane = pick(world.dispatch.lanes)
        match action:
            case "enter":
                world.enter(pick([1, 2, 5]), steps=pick([1, 9]), scale=pick([1.0, 4.0]), resolution=pick([64, 128]))
            case "start" if held:
                world.start(pick(held).job.id)
            case "step" if held and (chosen := pick(held)).steps_left > 0:
                step = Stepped((chosen.job.id,), chosen.job.resolution, 2, 0.1)
                world.dispatch.note_step(world.dispatch.lanes[chosen.worker or 0], step)
                world.books.note(step)
            case "end" if held:
                world.end(pick(held).job.id)
            case "crash" if lane.is_up:
                world.crash(lane.number, is_expected=pick([True, False]))
            case "back":
                world.come_back(lane.number)

    def check(world: World) -> None:
        assert world.books.sequences == sum(accepted.job.sequences for accepted in world.books)
        work = sum(accepted.job.sequences * accepted.steps_left for accepted in world.books)
        assert sum(world.books.estimate._work.values()) == work
        for lane in world.dispatch.lanes:
            held = list(lane.held.values())
            assert len(held) <= 1 or not any(accepted.crashes for accepted in held)
            assert all(accepted.worker == lane.number for accepted in held)
            assert sum(lane.sequences.values()) == sum(accepted.job.sequences for accepted in held)
            work = sum(accepted.job.sequences * accepted.steps_left for accepted in held)
            assert sum(lane.estimate._work.values()) == work

    def test(world: World) -> None:
        for action in actions:
            act(world, action)
            world.send()
            check(world)
        for lane in world.dispatch.lanes:
            world.come_back(lane.number)
        while len(world.books):  # everything can still be done
            world.send()
            held = [accepted for lane in world.dispatch.lanes for accepted in lane.held.values()]
            assert held
            for accepted in held:
                world.end(accepted.job.id)
        assert world.dispatch.next() is None

    with_world(workers, test)


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
