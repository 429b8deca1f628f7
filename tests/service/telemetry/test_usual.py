"""A bound that follows what is usual: not one accident, and not what is long past."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.telemetry.usual import HALVED_AFTER_SECONDS, SETTLED, Margin, Usual

MARGIN = Margin(share=0.75, factor=4.0, least_factor=2.0)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def usual(*figures: float) -> tuple[Usual, Clock]:
    clock = Clock()
    found = Usual(MARGIN, clock)
    for figure in figures:
        found.add(figure)
    return found, clock


def test_nothing_known_bounds_nothing() -> None:
    assert usual()[0].bound == 0.0


@pytest.mark.parametrize("at", range(SETTLED))
def test_one_accident_does_not_count_once_the_figure_has_settled(at: int) -> None:
    figures = [1.0] * (SETTLED - 1)
    figures.insert(at, 1000.0)
    assert usual(*figures)[0].bound == 4.0


def test_a_figure_that_may_be_an_accident_counts_less_with_time_down_to_what_it_may_repeat() -> None:
    found, clock = usual(15.0)
    assert found.bound == 60.0
    clock.now += HALVED_AFTER_SECONDS
    assert found.bound == 30.0
    clock.now += 1e6
    assert found.bound == 30.0


@given(st.floats(1e-3, 1e3), st.lists(st.floats(0.0, 1e6), min_size=1, max_size=70))
def test_what_takes_as_long_as_ever_is_within_its_bound_whenever_it_comes(figure: float, pauses: list[float]) -> None:
    found, clock = usual()
    for pause in pauses:
        found.add(figure)
        clock.now += pause
        assert found.bound >= 2 * figure
