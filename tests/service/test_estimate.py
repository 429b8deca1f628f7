"""Work and its price."""

from __future__ import annotations

import pytest

from service.estimate import FIRST_GUESS_SECONDS, WorkEstimate
from service.job import Job, Stepped


def job(resolution: int = 64, scale: float = 4.0) -> Job:
    return Job(1, "r", resolution, 0, 0, 50, scale, "ddim")


def test_no_work_takes_no_time() -> None:
    assert WorkEstimate().seconds() == 0


def test_work_is_sequences_times_steps() -> None:
    estimate = WorkEstimate()
    estimate.add(job(), 50)
    estimate.add(job(scale=1), 50)
    estimate.add(job(), -20)
    assert estimate.seconds() == pytest.approx((2 * 30 + 50) * FIRST_GUESS_SECONDS)


def test_the_price_is_measured_per_resolution() -> None:
    estimate = WorkEstimate()
    estimate.add(job(64), 10)
    estimate.add(job(128), 10)
    estimate.observe(Stepped((1,), 64, 4, 0.4))
    estimate.observe(Stepped((1,), 128, 2, 2.0))
    assert estimate.seconds() == pytest.approx(20 * 0.1 + 20 * 1.0)


def test_the_price_follows_new_measurements() -> None:
    estimate = WorkEstimate()
    estimate.add(job(), 1)
    for seconds in (1.0, *[3.0] * 100):
        estimate.observe(Stepped((1,), 64, 1, seconds))
    assert estimate.seconds() == pytest.approx(2 * 3.0, rel=1e-3)


def test_room_for_half_of_the_work_takes_half_of_the_time() -> None:
    estimate = WorkEstimate()
    estimate.add(job(), 1000)
    assert estimate.seconds_until_free(wanted=1, held=2) == 10
    assert estimate.seconds_until_free(wanted=5, held=2) == 20


def test_waiting_takes_at_least_a_second() -> None:
    assert WorkEstimate().seconds_until_free(wanted=1, held=0) == 1
