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
    ledger = world.ledger
    assert ledger.sequences == sum(accepted.job.sequences for accepted in ledger)
    assert sum(ledger.estimate._work.values()) == sum(accepted.work_left for accepted in ledger)
    for (model, is_running), counts in ledger.census.items():
        state = [each for each in ledger if (each.job.model, each.is_running) == (model, is_running)]
        assert counts == (len(state), sum(each.job.sequences for each in state))
    for number, load in enumerate(ledger.loads):
        held = list(load.held.values())
        assert len(held) <= 1 or not any(accepted.crashes for accepted in held)
        assert all(accepted.worker == number for accepted in held)
        assert load.sequences.total() == sum(accepted.job.sequences for accepted in held)
        assert sum(load.estimate._work.values()) == sum(accepted.work_left for accepted in held)


ACTIONS = st.lists(st.sampled_from(["enter", "start", "step", "end", "crash", "back"]), max_size=120)


@given(ACTIONS, st.integers(1, 3), st.randoms(use_true_random=False))
def test_whatever_happens_suspects_are_alone_nothing_is_lost_and_the_figures_are_right(
    actions: list[str], workers: int, source: Random
) -> None:
    pick = source.choice

    def act(world: World, action: str) -> None:
        worker = pick(world.workers)
        match action:
            case "enter":
                model = pick(["fake-64", "fake-128"])
                world.enter(pick([1, 2, 5]), steps=pick([1, 9]), scale=pick([1.0, 4.0]), model=model)
            case "start" if world.held:
                world.start(pick(world.held).job.id)
            case "step" if world.held and (chosen := pick(world.held)).steps_left > 0:
                assert chosen.worker is not None
                world.ledger.stepped(Stepped((chosen.job.id,), chosen.job.model, 2, 0.1, 0.0), chosen.worker)
            case "end" if world.held:
                world.end(pick(world.held).job.id)
            case "crash" if worker.is_up:
                world.crash(worker.number, is_expected=pick([True, False]))
            case "back":
                world.come_back(worker.number)

    def test(world: World) -> None:
        for action in actions:
            act(world, action)
            world.send()
            assert_figures_are_right(world)
        for worker in world.workers:
            world.come_back(worker.number)
        while len(world.ledger):  # everything can still be done
            world.send()
            assert world.held
            for accepted in world.held:
                world.end(accepted.job.id)
        assert world.dispatch.send_next() is None

    with_world(workers, test)


def test_the_estimates_of_workers_and_of_all_add_up_after_a_crash_in_the_midst_of_steps() -> None:
    def test(world: World) -> None:
        world.enter(8, steps=10, scale=4.0)
        world.send()
        for number, load in enumerate(world.ledger.loads):
            ids = tuple(load.held)
            world.start(*ids)
            world.ledger.stepped(Stepped(ids, "fake-64", 2 * len(ids), 0.1, 0.0), number)
        kept = sum(accepted.work_left for accepted in world.ledger.loads[1].held.values())
        world.crash(0)
        assert_figures_are_right(world)
        assert sum(world.ledger.loads[0].estimate._work.values()) == 0
        assert sum(world.ledger.loads[1].estimate._work.values()) == kept == 4 * 2 * 9
        assert sum(world.ledger.estimate._work.values()) == kept + 4 * 2 * 10  # those that were lost begin again

    with_world(2, test)
