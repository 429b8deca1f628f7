"""The future of one worker, step by step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import SampleSpec
from dit_serve.service.front.forecast import Costs, Course, Row
from dit_serve.service.wire.job import Job


def costs(places: int = 4, image: float = 0.0, *, beside: bool = False, busy: bool = False) -> Costs:
    """A step takes a second, and a tenth more for each sequence."""
    return Costs(lambda _, sequences: 1 + sequences / 10, lambda _: image, lambda _: places, beside, busy)


def row(number: int, steps: int, sequences: int = 1, model: str = "a", leaves: float = math.inf) -> Row:
    return Row(number, model, sequences, steps, leaves)


def job(number: int, steps: int, scale: float = 1.0, model: str = "a") -> Job:
    return Job(number, "r", model, SampleSpec(0, 0, steps, scale))


def test_nothing_to_do_takes_no_time() -> None:
    assert Course(costs(), [], []).idle_after == 0


def test_a_row_alone_takes_its_steps_and_its_decoding() -> None:
    assert Course(costs(image=0.5), [], [row(1, 10, 2)]).ends == {1: pytest.approx(12.5)}


def test_rows_share_their_steps_until_one_leaves() -> None:
    ends = Course(costs(), [row(1, 2), row(2, 5, 2)], []).ends
    assert ends == {1: pytest.approx(2 * 1.3), 2: pytest.approx(2 * 1.3 + 3 * 1.2)}


def test_the_step_under_way_counts_from_its_beginning_and_takes_nobody_in() -> None:
    course = Course(costs(), [row(1, 2)], [row(2, 1)], begun_seconds=0.6)
    assert course.ends == {1: pytest.approx(0.5 + 1.2), 2: pytest.approx(0.5 + 1.2)}
    assert Course(costs(), [row(1, 1)], [], begun_seconds=99).ends == {1: 0}


def test_who_finds_no_room_waits_until_places_are_free_and_nobody_passes_him() -> None:
    ends = Course(costs(places=2), [row(1, 3), row(2, 9)], [row(3, 1, 2), row(4, 1)]).ends
    assert ends[3] == pytest.approx(3 * 1.2 + 6 * 1.1 + 1.2)
    assert ends[4] > ends[3]


def test_models_take_turns() -> None:
    ends = Course(costs(), [row(1, 2), row(2, 2, model="b")], []).ends
    assert ends == {1: pytest.approx(4.4), 2: pytest.approx(4.4)}


def test_decoding_holds_up_the_others_unless_it_is_done_beside() -> None:
    rows = [row(1, 1), row(2, 2)]
    assert Course(costs(image=5), rows, []).ends == {1: pytest.approx(6.2), 2: pytest.approx(6.2 + 1.1 + 5)}
    beside = Course(costs(image=5, beside=True), rows, [])
    assert beside.ends == {1: pytest.approx(6.2), 2: pytest.approx(1.2 + 1.1 + 5)}


def test_a_row_without_steps_is_being_decoded() -> None:
    assert Course(costs(image=5), [row(1, 0)], [row(2, 1)]).ends == {1: 5, 2: pytest.approx(5 + 1.1 + 5)}


def test_who_is_given_up_frees_his_places_then() -> None:
    course = Course(costs(places=1, image=1), [row(1, 100, leaves=3.0)], [row(2, 1), row(3, 1, leaves=0.5)])
    assert course.ends == {1: 3.0, 2: pytest.approx(3 * 1.1 + 1.1 + 1), 3: 0.5}
    gone = Row(1, "a", 1, 100, is_wanted=False)
    assert Course(costs(image=1), [gone], []).ends == {1: pytest.approx(1.1)}


def test_a_row_larger_than_a_batch_runs_alone() -> None:
    course = Course(costs(places=1), [], [row(1, 1, 2), row(2, 1, 2)])
    assert course.ends == {1: pytest.approx(1.2), 2: pytest.approx(2.4)}


def test_where_others_keep_coming_steps_stay_as_full_as_they_are() -> None:
    ends = Course(costs(busy=True), [row(1, 2), row(2, 5, 2)], []).ends
    assert ends[2] == pytest.approx(5 * 1.3)


def test_a_request_of_more_than_a_batch_takes_several_turns() -> None:
    assert Course(costs(places=4, image=1), [], []).end_behind([job(1, 5)] * 6) == pytest.approx(5 * (1.4 + 1.2) + 6)


def test_jobs_of_several_models_steps_and_scales_are_done_with_the_last_of_them() -> None:
    jobs = [job(1, 5), job(2, 10, 4.0), job(3, 4, model="b")]
    assert Course(costs(image=1), [], []).end_behind(jobs) == pytest.approx(5 * 1.3 + 5 * 1.2 + 4 * 1.1 + 3, rel=0.05)
    one_more = [*jobs, job(4, 8, 4.0)]  # finds room when the first has left
    assert Course(costs(image=1), [], []).end_behind(one_more) == pytest.approx(
        5 * 1.3 + 5 * 1.4 + 3 * 1.2 + 4 * 1.1 + 4, rel=0.05
    )


def test_what_is_not_played_through_is_before_whoever_comes() -> None:
    course = Course(costs(), [row(1, 3)], [])
    course.put_off(100.0)
    assert course.end_behind([job(2, 1)]) == pytest.approx(3 * 1.1 + 100 + 1.1)


ROWS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2), st.sampled_from("ab")), max_size=12)


@given(ROWS, ROWS, st.integers(1, 9), st.sampled_from([1.0, 4.0]), st.sampled_from("ab"), st.floats(0, 2))
def test_who_comes_now_is_done_when_he_would_be_if_he_had_come_last(
    running: list[tuple[int, int, str]], waiting: list[tuple[int, int, str]], steps: int, scale: float, model: str,
    begun: float,
) -> None:
    runs = [row(0, 1), *(row(number, *each) for number, each in enumerate(running, 1))]
    waits = [row(number, *each) for number, each in enumerate(waiting, 100)]
    new = job(999, steps, scale, model)
    last = Row(new.id, model, new.sequences, steps)
    expected = Course(costs(places=6), runs, [*waits, last], begun).ends[new.id]
    assert Course(costs(places=6), runs, waits, begun).end_behind([new]) == pytest.approx(expected)


BATCH = st.lists(
    st.tuples(st.sampled_from([10, 20, 50]), st.sampled_from([1.0, 4.0]), st.sampled_from("ab")),
    min_size=2, max_size=64,
)  # fmt: skip


@given(ROWS, BATCH, st.booleans(), st.sampled_from([2, 6, 16]))
def test_a_mixed_batch_that_comes_now_is_done_about_when_it_would_be_if_it_had_come_last(
    waiting: list[tuple[int, int, str]], batch: list[tuple[int, float, str]], beside: bool, places: int
) -> None:
    waits = [row(number, *each) for number, each in enumerate(waiting, 100)]
    new = [job(number, *each) for number, each in enumerate(batch, 1000)]
    last = [Row(each.id, each.model, each.sequences, each.spec.steps) for each in new]
    cost = costs(places, image=0.5, beside=beside)
    ends = Course(cost, [row(0, 1)], [*waits, *last]).ends
    expected = max(ends[each.id] for each in new)
    assert 0.75 * expected < Course(cost, [row(0, 1)], waits).end_behind(new) < 1.75 * expected


@given(ROWS, ROWS)
def test_everything_ends_and_nothing_after_all_is_done(
    running: list[tuple[int, int, str]], waiting: list[tuple[int, int, str]]
) -> None:
    runs = [row(number, *each) for number, each in enumerate(running)]
    waits = [row(number, *each) for number, each in enumerate(waiting, 100)]
    course = Course(costs(image=0.3), runs, waits)
    assert course.ends.keys() == {each.job_id for each in (*runs, *waits)}
    assert max(course.ends.values(), default=0.0) == pytest.approx(course.idle_after)
