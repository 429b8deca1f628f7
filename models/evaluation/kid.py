"""The kernel Inception distance: the squared maximum mean discrepancy of features under a cubic kernel.

k(x, y) = (x·y / D + 1)³, the unbiased estimate, averaged over 100 random subsets of 1,000 ("Demystifying MMD GANs",
arXiv 1801.01401, section 4; the subsets are drawn as torch-fidelity draws them, so that its figures come out). Unlike
FID it has no bias in the number of images, and it may be slightly negative.

Knows no network and no image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBSETS, SUBSET_SIZE = 100, 1000
SEED = 2020  # torch-fidelity's own


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """A kernel distance, and its standard deviation over the subsets."""

    mean: float
    deviation: float


def kernel_distance(
    samples: np.ndarray, reference: np.ndarray, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE
) -> KernelDistance:
    """The distance of samples (N, D) and a reference (M, D).

    Args:
        subsets: how many are drawn.
        subset_size: images of each set in a subset; all of the smaller set, where it has fewer.

    Raises:
        ValueError: a set has fewer than two, or they are of different widths.
    """
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(f"features of {samples.shape[1]} and of {reference.shape[1]} numbers have no distance")
    size = min(subset_size, len(samples), len(reference))
    if size < 2:
        raise ValueError(f"a kernel distance needs 2 features of each set at least, got {size}")
    random = np.random.RandomState(SEED)
    found = []
    for _ in range(subsets):
        x = samples[random.choice(len(samples), size, replace=False)]
        y = reference[random.choice(len(reference), size, replace=False)]
        found.append(unbiased_discrepancy(x, y))
    return KernelDistance(float(np.mean(found)), float(np.std(found)))


def unbiased_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of the squared discrepancy of x (n, D) and y (m, D), in float64: eq. 4 of the paper."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m = len(x), len(y)
    within_x = (_kernel_sum(x, x) - _kernel_of_itself(x)) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - _kernel_of_itself(y)) / (m * (m - 1))
    return float(within_x + within_y - 2.0 * _kernel_sum(x, y) / (n * m))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of k over all pairs of x (n, D) and y (m, D)."""
    base = (x / x.shape[1]) @ y.T
    base += 1.0
    return float(np.vdot(base, base * base))


def _kernel_of_itself(x: np.ndarray) -> float:
    """The sum of k(x_i, x_i)."""
    return float(((np.einsum("ij,ij->i", x, x) / x.shape[1] + 1.0) ** 3).sum())
