"""Work and its price."""

from __future__ import annotations

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.front.estimate import FIRST_GUESS_SECONDS, WorkEstimate
from dit_serve.service.wire.job import Job, Stepped


def job() -> Job:
    return Job(1, "r", "fake-64", SampleSpec(0, 0, 50, 4.0))


def test_no_work_takes_no_time() -> None:
    assert WorkEstimate().seconds() == 0


def test_work_is_sequences_times_steps() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 100)
    estimate.add("fake-64", 50)
    estimate.add("fake-64", -40)
    assert estimate.seconds() == pytest.approx((2 * 30 + 50) * FIRST_GUESS_SECONDS)


def test_the_price_is_measured_per_model() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 20)
    estimate.add("fake-128", 20)
    estimate.observe(Stepped((1,), "fake-64", 4, 0.4, 0.0))
    estimate.observe(Stepped((1,), "fake-128", 2, 2.0, 0.0))
    assert estimate.seconds() == pytest.approx(20 * 0.1 + 20 * 1.0)


def test_the_price_follows_new_measurements() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 2)
    for seconds in (1.0, *[3.0] * 100):
        estimate.observe(Stepped((1,), "fake-64", 1, seconds, 0.0))
    assert estimate.seconds() == pytest.approx(2 * 3.0, rel=1e-3)


def test_room_for_half_of_the_work_takes_half_of_the_time() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 2000)
    assert estimate.seconds_until_free(wanted=1, held=2) == pytest.approx(10)
    assert estimate.seconds_until_free(wanted=5, held=2) == pytest.approx(20)


def test_workers_share_the_work() -> None:
    estimate = WorkEstimate()
    estimate.add("fake-64", 2000)
    estimate.workers = 2
    assert estimate.seconds() == pytest.approx(10)


def test_a_job_of_an_idle_service_takes_its_own_time_however_many_workers_there_are() -> None:
    estimate = WorkEstimate()
    estimate.workers = 4
    assert estimate.finish_seconds([job()], held=0, capacity=8) == pytest.approx(100 * FIRST_GUESS_SECONDS)


def test_nothing_held_is_free_at_once() -> None:
    assert WorkEstimate().seconds_until_free(wanted=1, held=0) == 0


def measured(**counts: int) -> WorkEstimate:
    """An estimate that has seen sequence-steps of a tenth of a second, with this work on the books."""
    estimate = WorkEstimate()
    estimate.observe(Stepped((1,), "fake-64", 1, 0.1, 0.0))
    for _ in range(counts.get("jobs", 0)):
        estimate.add("fake-64", 100)
    return estimate


def test_a_price_is_a_guess_until_a_step_was_made() -> None:
    assert not WorkEstimate().is_measured("fake-64")
    assert measured().is_measured("fake-64")
    assert not measured().is_measured("fake-128")


def test_an_image_alone_is_done_when_its_steps_are() -> None:
    assert measured().finish_seconds([job()], held=0, capacity=16) == pytest.approx(10)


def test_an_image_that_joins_shares_its_steps_with_the_others() -> None:
    assert measured(jobs=3).finish_seconds([job()], held=6, capacity=16) == pytest.approx(40)


def test_an_image_that_finds_no_room_waits_for_those_before_it() -> None:
    assert measured(jobs=4).finish_seconds([job()], held=8, capacity=2) == pytest.approx(50)


def test_a_request_larger_than_a_batch_takes_as_long_as_all_its_steps() -> None:
    assert measured().finish_seconds([job()] * 16, held=0, capacity=2) == pytest.approx(160)


def test_a_prediction_leaves_the_books_as_they_are() -> None:
    estimate = measured(jobs=2)
    before = estimate.seconds()
    estimate.finish_seconds([job()] * 3, held=4, capacity=4)
    assert estimate.seconds() == before
