"""The kernel distance, against sums over all pairs written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dit_serve.models.evaluation.kid import kernel_distance, unbiased_discrepancy


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 4 of arXiv 1801.01401 term by term."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((sum(map(float, a * b)) / len(a) + 1.0) ** 3)

    own_x = [kernel(x[i], x[j]) for i, j in itertools.permutations(range(len(x)), 2)]
    own_y = [kernel(y[i], y[j]) for i, j in itertools.permutations(range(len(y)), 2)]
    across = [kernel(a, b) for a in x for b in y]
    return float(np.mean(own_x) + np.mean(own_y) - 2.0 * np.mean(across))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (7, 7), (5, 9)])
def test_discrepancy_is_that_of_all_pairs(n: int, m: int) -> None:
    random = np.random.default_rng(n)
    x, y = random.normal(size=(n, 4)), random.normal(size=(m, 4)) + 0.5
    assert unbiased_discrepancy(x, y) == pytest.approx(by_pairs(x, y), rel=1e-10)


def test_estimate_is_unbiased_where_both_sets_are_alike() -> None:
    random = np.random.default_rng(0)
    found = [unbiased_discrepancy(random.normal(size=(20, 3)), random.normal(size=(20, 3))) for _ in range(600)]
    assert abs(np.mean(found)) < 4.0 * np.std(found) / np.sqrt(len(found))  # four standard errors around zero
    assert min(found) < 0.0


def test_subsets_are_drawn_as_torch_fidelity_draws_them() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(50, 4)), random.normal(size=(60, 4)) + 0.3
    drawn = np.random.RandomState(2020)
    expected = []
    for _ in range(5):
        a = x[drawn.choice(50, 20, replace=False)]
        expected.append(unbiased_discrepancy(a, y[drawn.choice(60, 20, replace=False)]))
    found = kernel_distance(x, y, subsets=5, subset_size=20)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.deviation == pytest.approx(np.std(expected), rel=1e-12)


def test_a_subset_is_no_larger_than_the_smaller_set() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(8, 4)), random.normal(size=(30, 4))
    assert kernel_distance(x, y, subsets=3).mean == kernel_distance(x, y, subsets=3, subset_size=8).mean


def test_sets_that_are_too_small_or_of_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 features of each set"):
        kernel_distance(np.zeros((1, 3)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="features of 3 and of 4"):
        kernel_distance(np.zeros((9, 3)), np.zeros((9, 4)))
