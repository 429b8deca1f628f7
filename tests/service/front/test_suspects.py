"""Jobs that were running when a worker died: each is tried alone, and the others go on meanwhile."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.wire.job import Stepped
from tests.service.front.test_dispatch import World, with_world


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


def assert_figures_are_right(world: World) -> None:
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

    def test(world: World) -> None:
        for action in actions:
            act(world, action)
            world.send()
            assert_figures_are_right(world)
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
