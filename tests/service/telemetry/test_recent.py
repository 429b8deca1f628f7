"""Figures of late: a single one does not move what is usual, and old ones are forgotten when there are newer ones."""

from __future__ import annotations

import pytest

from dit_serve.service.telemetry.recent import LEAST, OUTLIER, Recent


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(*figures: float) -> Recent:
    recent = Recent()
    for figure in figures:
        recent.add(figure)
    return recent


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.2, 1), (0.25, 2), (0.5, 3), (0.9, 5), (1, 5)])
def test_a_quantile_is_the_least_figure_that_the_share_does_not_pass(share: float, expected: float) -> None:
    assert filled(5, 3, 1, 4, 2).quantile(share) == expected


def test_one_outlier_leaves_the_median_as_it_was() -> None:
    assert filled(1.0, 1.0, 15.0).quantile(0.5) == filled(1.0, 1.0).quantile(0.5)


def test_what_is_usual_is_the_mean_in_which_an_outlier_counts_for_little() -> None:
    assert filled(1.0, 2.0, 3.0).usual() == pytest.approx(2.0)
    assert filled(1.0, 1.0, 1.0, 900.0).usual() == pytest.approx((3 * 1.0 + OUTLIER) / 4)
    assert filled(5.0).usual() == 5.0


def test_nothing_is_told_of_what_was_never_measured() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Recent().quantile(0.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        Recent().usual()


def test_only_so_many_are_kept() -> None:
    recent = Recent(most=3)
    for figure in range(10):
        recent.add(figure)
    assert (len(recent), recent.quantile(0)) == (3, 7)


def test_what_is_old_does_not_count_once_there_is_enough_that_is_not() -> None:
    clock = Clock()
    recent = Recent(seconds=60, clock=clock)
    for _ in range(20):
        recent.add(100.0)
    clock.now = 61
    for _ in range(LEAST):
        recent.add(1.0)
    assert recent.quantile(1) == 1.0


def test_old_figures_count_as_long_as_there_are_no_others() -> None:
    clock = Clock()
    recent = Recent(seconds=60, clock=clock)
    recent.add(2.0)
    clock.now = 3600
    assert recent.quantile(0.5) == 2.0
