"""When things will be, as the books and the workers stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.front.estimate import Pace
from dit_serve.service.front.outlook import MOST_PLAYED, Outlook
from dit_serve.service.wire.job import Job, Started
from tests.service.front.played import PLACES, Played

STEP_SECONDS = 0.1


class Drawn(Outlook):
    """Counts how often it is drawn, and lets a drawing take time."""

    drawings, seconds = 0, 0.0

    def _draw(self, *moment: object) -> object:  # type: ignore[override]
        self.drawings += 1
        drawing = super()._draw(*moment)  # type: ignore[arg-type]
        self._clock.__self__.now += self.seconds  # type: ignore[attr-defined]
        return drawing


def played(test: Callable[[Played], None], workers: int = 1, *, learned: bool = True, bound: int = 512) -> None:
    """Plays a test on a service whose steps take as long whatever their size, inside an event loop."""

    async def run() -> None:
        world = Played(workers, ["a", "b"], lambda _, __: STEP_SECONDS, lambda _: 0.0, bound)
        if learned:
            for model in "ab":
                world.ask(model, steps=5, count=workers * PLACES // 2)
                world.run()
        test(world)

    asyncio.run(run())


def test_the_place_counts_those_that_wait_before() -> None:
    def test(world: Played) -> None:
        first = world.ask(count=PLACES // 2, steps=10)
        world.run(world.now + STEP_SECONDS / 2)
        later = world.ask(count=4)
        assert isinstance(first, list)
        assert isinstance(later, list)
        assert [world.outlook.place([each]).position for each in (first[3], *later)] == [0, 0, 1, 2, 3]

    played(test)


def test_nothing_is_predicted_before_a_step_was_made() -> None:
    def test(world: Played) -> None:
        accepted = world.ask(steps=5)
        assert isinstance(accepted, list)
        assert world.outlook.place(accepted).eta_seconds is None
        world.run(world.now + 1.5 * STEP_SECONDS)
        assert world.outlook.place(accepted).eta_seconds == pytest.approx(3.5 * STEP_SECONDS)

    played(test, learned=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_predicted_comes_true(workers: int) -> None:
    def test(world: Played) -> None:
        for steps in (30, 10, 50):
            world.ask(steps=steps, count=8)
            world.ask("b", steps=steps, count=2)
        accepted = world.ask(steps=7)
        assert isinstance(accepted, list)
        expected = world.outlook.place(accepted).eta_seconds
        began = world.now
        while not accepted[0].result.done():
            world.run(world.now + STEP_SECONDS / 10)
        assert expected == pytest.approx(world.now - began, rel=0.25)

    played(test, workers)


def test_an_eta_is_the_last_images_and_falls_with_time() -> None:
    def test(world: Played) -> None:
        accepted = world.ask(steps=10, count=PLACES)
        assert isinstance(accepted, list)
        assert world.outlook.place(accepted).eta_seconds == pytest.approx(20 * STEP_SECONDS, rel=0.06)
        world.run(world.now + 5 * STEP_SECONDS)
        assert world.outlook.eta_seconds(accepted[0]) == pytest.approx(5 * STEP_SECONDS, rel=0.06)

    played(test)


def test_places_are_free_when_batches_end() -> None:
    def test(world: Played) -> None:
        world.ask(steps=100, count=PLACES)
        world.run(world.now + 10 * STEP_SECONDS)
        for wanted, steps in ((1, 90), (PLACES, 90), (PLACES + 1, 190), (2 * PLACES, 190), (2 * PLACES + 1, 280)):
            assert world.outlook.seconds_until_free(wanted) == pytest.approx(steps * STEP_SECONDS, rel=0.03)
        assert world.outlook.seconds_until_empty() == pytest.approx(190 * STEP_SECONDS, rel=0.03)

    played(test)


def test_nothing_held_is_free_at_once() -> None:
    played(lambda world: _is_zero(world.outlook.seconds_until_free(3)))


def _is_zero(seconds: float) -> None:
    assert seconds == 0


def test_a_drawing_serves_all_who_ask_for_as_long_as_it_was_dear() -> None:
    def test(world: Played) -> None:
        outlook = Drawn(world.ledger, world.workers, PLACES, dict, clock=world.clock)
        accepted = world.ask(count=2)
        assert isinstance(accepted, list)
        outlook.seconds = 0.01
        for _ in range(100):
            outlook.place(accepted)
        assert outlook.drawings == 1
        came_since = world.ask(steps=10)
        assert isinstance(came_since, list)
        assert outlook.place(came_since).eta_seconds == pytest.approx(10 * STEP_SECONDS, rel=0.3)
        assert outlook.drawings == 1
        world.now += 0.2
        outlook.place(accepted)
        assert outlook.drawings == 2

    played(test)


def test_jobs_far_behind_are_reckoned_and_not_played_through() -> None:
    def test(world: Played) -> None:
        requests = [world.ask(steps=10) for _ in range(2 * MOST_PLAYED)]
        last, middle = requests[-1], requests[3 * MOST_PLAYED // 2]
        assert isinstance(last, list)
        assert isinstance(middle, list)
        at_once = PLACES // 2
        whole = 2 * MOST_PLAYED / at_once * 10 * STEP_SECONDS
        assert world.outlook.place(last).eta_seconds == pytest.approx(whole, rel=0.05)
        assert world.outlook.place(middle).eta_seconds == pytest.approx(0.75 * whole, rel=0.05)
        assert world.outlook.place(middle).position == pytest.approx(1.5 * MOST_PLAYED, rel=0.01)
        assert world.outlook.seconds_until_free(3 * MOST_PLAYED) == pytest.approx(0.75 * whole, rel=0.05)
        assert world.outlook.seconds_until_empty() == pytest.approx(whole, rel=0.05)

    played(test, bound=10_000)


def test_what_was_given_up_is_soon_gone() -> None:
    def test(world: Played) -> None:
        accepted = world.ask(steps=1000)
        assert isinstance(accepted, list)
        world.run(world.now + STEP_SECONDS / 2)
        world.give_up(accepted)
        assert world.outlook.seconds_until_empty() <= STEP_SECONDS

    played(test)


def test_a_worker_that_is_away_is_reckoned_with_as_if_it_were_back() -> None:
    def test(world: Played) -> None:
        accepted = world.ask(steps=10)
        assert isinstance(accepted, list)
        world.run(world.now + STEP_SECONDS / 2)
        world.workers[0].is_up = False
        world.ledger.started(Started((accepted[0].job.id,), world.now))
        world.ledger.lost(0)
        assert world.outlook.place(accepted).eta_seconds == pytest.approx(10 * STEP_SECONDS)

    played(test)


BATCH = [(model, SampleSpec(0, 0, steps, scale)) for model in "ab" for steps in (10, 30) for scale in (1.0, 4.0)] * 5


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_busy", [False, True])
def test_a_batch_of_many_kinds_is_done_when_it_is_said(workers: int, is_busy: bool) -> None:
    def test(world: Played) -> None:
        if is_busy:
            world.ask(steps=40, count=12)
            world.ask("b", steps=20, count=4)
        predicted = world.outlook.finish_seconds([Job(999, "r", model, spec) for model, spec in BATCH], Pace.USUAL)
        accepted = world.ask_all(BATCH)
        assert isinstance(accepted, list)
        told, began = world.outlook.place(accepted).eta_seconds, world.now
        while not all(each.result.done() for each in accepted):
            world.run(world.now + STEP_SECONDS / 10)
        assert predicted == pytest.approx(world.now - began, rel=0.35)
        assert told == pytest.approx(world.now - began, rel=0.35)

    played(test, workers)


def test_those_who_came_together_since_a_drawing_are_told_of_all_of_them() -> None:
    def test(world: Played) -> None:
        outlook = Drawn(world.ledger, world.workers, PLACES, dict, clock=world.clock)
        outlook.seconds = 0.01
        first = world.ask()
        assert isinstance(first, list)
        outlook.place(first)
        accepted = world.ask(steps=10, count=4 * PLACES)
        assert isinstance(accepted, list)
        assert outlook.place(accepted).eta_seconds == pytest.approx(8 * 10 * STEP_SECONDS, rel=0.2)
        assert outlook.drawings == 1

    played(test)
