"""What steps take, as far as it can be known, and what the work costs."""

from __future__ import annotations

import pytest

from dit_serve.service.front.estimate import (
    ENOUGH,
    FIRST_GUESS_SECONDS,
    FRESH_SECONDS,
    TRUSTED_SECONDS,
    Pace,
    StepTimes,
    WorkEstimate,
)
from dit_serve.service.wire.job import Stepped


class Clock:
    """Stands still unless it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(*seconds: float, sequences: int = 2, clock: Clock | None = None) -> StepTimes:
    """Step times of a model that has made steps of one size."""
    times = StepTimes(clock or Clock())
    for each in seconds:
        times.stepped("fake-64", sequences, each)
    return times


def test_no_work_takes_no_time() -> None:
    assert WorkEstimate().seconds() == 0


def test_work_is_sequences_times_steps() -> None:
    estimate = WorkEstimate()
    for sequence_steps in (100, 50, -40):
        estimate.add("fake-64", sequence_steps)
    assert estimate.seconds() == pytest.approx((2 * 30 + 50) * FIRST_GUESS_SECONDS)


def test_the_price_is_measured_per_model() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 20)
    estimate.add("fake-128", 20)
    estimate.observe(Stepped((1,), "fake-64", 4, 0.4, 0.0))
    estimate.observe(Stepped((1,), "fake-128", 2, 2.0, 0.0))
    assert estimate.seconds() == pytest.approx(20 * 0.1 + 20 * 1.0)


def test_the_price_follows_new_measurements_and_no_single_one() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 2)
    for seconds in (1.0, *[3.0] * 100, 900.0):
        estimate.observe(Stepped((1,), "fake-64", 1, seconds, 0.0))
    assert estimate.seconds() == pytest.approx(2 * 3.0)


def test_workers_share_the_work() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 2000)
    estimate.workers = 2
    assert estimate.seconds() == pytest.approx(10)


def test_before_any_step_a_price_is_a_guess() -> None:
    times = StepTimes(Clock())
    assert not times.is_measured("fake-64")
    assert times.step_seconds("fake-64", 4, Pace.USUAL) == 4 * FIRST_GUESS_SECONDS
    assert times.image_seconds("fake-64", Pace.USUAL) == 0


@pytest.mark.parametrize("pace", Pace)
def test_one_step_that_took_long_changes_little(pace: Pace) -> None:
    usual = measured(*[0.1] * 20).step_seconds("fake-64", 2, pace)
    assert measured(*[0.1] * 20, 60.0).step_seconds("fake-64", 2, pace) <= 1.2 * usual


def test_the_first_step_of_a_size_is_not_the_truth() -> None:
    times = measured(*[0.1] * ENOUGH)
    times.stepped("fake-64", 4, 30.0)
    for pace in Pace:
        assert times.step_seconds("fake-64", 4, pace) == pytest.approx(0.2)


def test_the_low_figure_is_below_the_usual_one() -> None:
    times = measured(*[0.1] * 5, *[0.3] * 15)
    assert times.step_seconds("fake-64", 2, Pace.LOW) == 0.1 < times.step_seconds("fake-64", 2, Pace.USUAL) < 0.3


def test_a_size_that_was_not_measured_is_no_slower_than_a_larger_one_and_at_most_in_proportion() -> None:
    times = measured(*[0.1] * 3, sequences=2)
    for _ in range(3):
        times.stepped("fake-64", 8, 0.2)
    assert times.step_seconds("fake-64", 3, Pace.USUAL) == pytest.approx(0.15)
    assert times.step_seconds("fake-64", 6, Pace.USUAL) == pytest.approx(0.2)
    assert times.step_seconds("fake-64", 16, Pace.USUAL) == pytest.approx(0.4)


def test_a_size_of_long_ago_is_judged_by_what_was_measured_since() -> None:
    clock = Clock()
    times = measured(*[9.0] * 5, sequences=4, clock=clock)
    clock.now += FRESH_SECONDS + 1
    for _ in range(3):
        times.stepped("fake-64", 2, 0.1)
    assert times.step_seconds("fake-64", 4, Pace.USUAL) == pytest.approx(0.2)


def test_figures_are_known_when_they_are_enough_and_as_long_as_they_are_new() -> None:
    clock = Clock()
    assert not measured(*[0.1] * (ENOUGH - 1), clock=clock).is_known("fake-64", 5)
    times = measured(*[0.1] * ENOUGH, clock=clock)
    assert times.is_known("fake-64", 5)
    clock.now += 6
    assert not times.is_known("fake-64", 5)
    assert not times.is_known("fake-128", 5)


def test_what_an_image_takes_besides_is_learned_per_model() -> None:
    times = StepTimes(Clock())
    for seconds in (0.2, 0.2, 50.0):
        times.imaged("fake-64", seconds)
    assert times.image_seconds("fake-64", Pace.LOW) == 0.2
    assert times.image_seconds("fake-64", Pace.USUAL) < 0.5
    assert times.image_seconds("fake-128", Pace.LOW) == 0


def test_images_of_a_while_ago_are_held_against_nobody() -> None:
    clock = Clock()
    times = StepTimes(clock)
    times.imaged("fake-64", 50.0)
    assert times.image_seconds("fake-64", Pace.LOW) == 50
    clock.now += TRUSTED_SECONDS
    assert times.image_seconds("fake-64", Pace.LOW) == 0
    assert times.image_seconds("fake-64", Pace.USUAL) == 50
