"""The queue: grouping, packing, order, and that nobody starves."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import SampleSpec
from dit_serve.service.engine.queue import JobQueue
from dit_serve.service.wire.job import Job


def job(number: int, scale: float = 4.0, model: str = "a", steps: int = 1) -> Job:
    return Job(number, "r", model, SampleSpec(0, 0, steps, scale, "ddim"))


def filled(*jobs: Job, fill: bool = True) -> JobQueue:
    queue = JobQueue(fill_across_guidance=fill)
    for each in jobs:
        queue.push(each)
    return queue


def ids(jobs: list[Job]) -> list[int]:
    return [each.id for each in jobs]


def test_an_empty_queue_gives_nothing() -> None:
    assert JobQueue().take("a", 8) == []


def test_a_guided_job_takes_two_places_and_an_unguided_one_takes_one() -> None:
    assert ids(filled(job(1), job(2), job(3)).take("a", 4)) == [1, 2]
    assert ids(filled(job(1, 1), job(2, 1), job(3, 1)).take("a", 2)) == [1, 2]


def test_the_group_of_the_oldest_job_goes_first() -> None:
    queue = filled(job(1, 4), job(2, 2), job(3, 4))
    assert ids(queue.take("a", 4)) == [1, 3]


def test_free_places_are_filled_from_other_groups_oldest_first() -> None:
    queue = filled(job(1, 4), job(2, 2), job(3, 3), job(4, 2), job(5, 4))
    assert ids(queue.take("a", 8)) == [1, 5, 2, 3]


def test_filling_can_be_turned_off() -> None:
    queue = filled(job(1, 4), job(2, 2), job(3, 4), fill=False)
    assert ids(queue.take("a", 8)) == [1, 3]
    assert ids(queue.take("a", 8, running_scale=4)) == []
    assert ids(queue.take("a", 8, running_scale=2)) == [2]


def test_without_filling_a_younger_job_of_the_running_scale_does_not_overtake() -> None:
    queue = filled(job(1, 2), job(2, 4), fill=False)
    assert queue.take("a", 8, running_scale=4) == []


def test_the_last_single_place_goes_to_an_unguided_job() -> None:
    queue = filled(job(1, 4), job(2, 4), job(3, 1))
    assert ids(queue.take("a", 3)) == [1, 3]


def test_nothing_passes_an_oldest_job_that_does_not_fit() -> None:
    queue = filled(job(1, 4), job(2, 1))
    assert queue.take("a", 1) == []
    assert ids(queue.take("a", 3)) == [1, 2]


def test_models_do_not_mix() -> None:
    queue = filled(job(1, model="a"), job(2, model="b"))
    assert ids(queue.take("b", 8)) == [2]
    assert ids(queue.take("a", 8)) == [1]


def test_a_cancelled_job_is_not_taken() -> None:
    queue = filled(job(1), job(2), job(3))
    assert queue.cancel(2) == job(2)
    assert queue.cancel(2) is None
    assert ids(queue.take("a", 8)) == [1, 3]


def test_cancelling_the_last_of_a_group_leaves_the_others() -> None:
    queue = filled(job(1, 4), job(2, 2))
    queue.cancel(1)
    assert ids(queue.take("a", 8)) == [2]
    assert len(queue) == 0


def test_one_id_waits_only_once() -> None:
    queue = filled(job(1))
    with pytest.raises(ValueError, match="job 1 is waiting already"):
        queue.push(job(1))


def test_age_tells_which_model_has_the_older_job() -> None:
    queue = filled(job(5, model="b"), job(4, model="a"))
    assert queue.age("c") is None
    older, younger = queue.age("b"), queue.age("a")
    assert older is not None
    assert younger is not None
    assert older < younger


SCALES = st.sampled_from([1.0, 1.5, 4.0])
ARRIVALS = st.lists(st.lists(st.tuples(SCALES, st.integers(1, 5)), max_size=4), max_size=40)


@given(ARRIVALS, st.integers(2, 9), st.booleans())
def test_no_job_is_lost_and_no_batch_is_too_large(
    arrivals: list[list[tuple[float, int]]], places: int, fill: bool
) -> None:
    admitted_at, _ = simulate(arrivals, places, fill)
    assert sorted(admitted_at) == list(range(sum(map(len, arrivals))))


@given(ARRIVALS, st.integers(2, 9), st.booleans())
def test_a_wait_is_bounded_by_the_work_ahead(
    arrivals: list[list[tuple[float, int]]], places: int, fill: bool
) -> None:
    """Each older job can hold the queue's head for the length of one batch at most, and so can what is running."""
    admitted_at, arrived_at = simulate(arrivals, places, fill)
    longest = max((steps for arrival in arrivals for _, steps in arrival), default=0)
    for number, admitted in admitted_at.items():
        ahead = sum(arrived_at[older] <= arrived_at[number] and admitted_at[older] >= arrived_at[number]
                    for older in range(number))
        assert admitted - arrived_at[number] <= (ahead + 1) * longest


@given(ARRIVALS, st.integers(2, 9), st.booleans())
def test_the_device_is_never_idle_while_a_job_waits(
    arrivals: list[list[tuple[float, int]]], places: int, fill: bool
) -> None:
    simulate(arrivals, places, fill)  # asserts it at every step


def simulate(arrivals: list[list[tuple[float, int]]], places: int, fill: bool) -> tuple[dict[int, int], dict[int, int]]:
    """Runs the queue against a batch of `places` sequences: (step of admission, step of arrival) by job."""
    queue, numbers = JobQueue(fill_across_guidance=fill), count()
    admitted_at: dict[int, int] = {}
    arrived_at: dict[int, int] = {}
    running: list[tuple[Job, int]] = []
    now = 0
    while now < len(arrivals) or len(queue) or running:
        for scale, steps in arrivals[now] if now < len(arrivals) else []:
            number = next(numbers)
            arrived_at[number] = now
            queue.push(job(number, scale, steps=steps))
        free = places - sum(each.sequences for each, _ in running)
        taken = queue.take("a", free, running_scale=running[0][0].spec.guidance_scale if running else None)
        assert sum(each.sequences for each in taken) <= free
        running += [(each, each.spec.steps) for each in taken]
        admitted_at.update((each.id, now) for each in taken)
        assert fill or len({each.spec.guidance_scale for each, _ in running}) <= 1
        assert running or not len(queue)
        running = [(each, left - 1) for each, left in running if left > 1]
        now += 1
    return admitted_at, arrived_at
