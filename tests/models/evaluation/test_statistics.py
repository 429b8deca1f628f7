"""Means, covariances and the Fréchet distance, against numpy and scipy on the whole rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dit_serve.models.evaluation.statistics import Moments, Statistics, frechet_distance, statistics_of


def rows(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Correlated columns of unlike sizes, far from zero."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)) @ random.normal(size=(width, width)) + random.normal(size=width) * 30


def by_square_root_of_a_matrix(a: np.ndarray, b: np.ndarray) -> float:
    """Eq. 6 of arXiv 1706.08500 as it stands there."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    offset = a.mean(axis=0) - b.mean(axis=0)
    return float(offset @ offset + np.trace(first + second - 2.0 * sqrtm(first @ second).real))


@pytest.mark.parametrize("sizes", [[1], [7, 1, 300], [1500, 1, 1024, 3]])
def test_moments_of_batches_are_those_of_all_rows(sizes: list[int]) -> None:
    whole = rows(5000, 6)
    moments, first = Moments(), 0
    while first < len(whole):
        for size in sizes:
            moments.add(whole[first : first + size])
            first += size
    found = moments.statistics()
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(whole, rowvar=False), rtol=1e-10, atol=1e-10)
    assert found.width == 6


def test_moments_far_from_zero_lose_no_digits() -> None:
    whole = np.random.default_rng(0).normal(size=(4000, 3)) + 1e6
    np.testing.assert_allclose(statistics_of(whole).covariance, np.cov(whole, rowvar=False), rtol=1e-9, atol=1e-9)


def test_moments_may_be_looked_at_on_the_way() -> None:
    whole, moments = rows(40, 3), Moments()
    moments.add(whole[:20])
    early = moments.statistics()
    moments.add(whole[20:])
    np.testing.assert_allclose(early.covariance, np.cov(whole[:20], rowvar=False), rtol=1e-10)
    np.testing.assert_allclose(moments.statistics().covariance, np.cov(whole, rowvar=False), rtol=1e-10)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_have_no_covariance(count: int) -> None:
    with pytest.raises(ValueError, match="2 rows at least"):
        statistics_of(rows(count, 3))


@pytest.mark.parametrize("width", [1, 2, 16])
def test_distance_is_that_of_scipys_square_root(width: int) -> None:
    a, b = rows(200, width, 1), rows(150, width, 2)
    expected = by_square_root_of_a_matrix(a, b) if width > 1 else _of_one_column(a, b)
    assert frechet_distance(statistics_of(a), statistics_of(b)) == pytest.approx(expected, rel=1e-9)


def test_distance_of_fewer_rows_than_columns_is_finite_and_symmetric() -> None:
    a, b = statistics_of(rows(5, 20, 1)), statistics_of(rows(300, 20, 2))
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_distance_to_itself_is_zero_and_never_negative() -> None:
    for seed in range(5):
        same = statistics_of(rows(30, 40, seed))
        assert 0.0 <= frechet_distance(same, same) <= 1e-6 * np.trace(same.covariance)


def test_other_widths_have_no_distance() -> None:
    with pytest.raises(ValueError, match="features of 2 and of 3"):
        frechet_distance(Statistics(np.zeros(2), np.eye(2)), Statistics(np.zeros(3), np.eye(3)))


def _of_one_column(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2)
