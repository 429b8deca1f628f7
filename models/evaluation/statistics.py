"""The mean and covariance of features, gathered batch by batch, and the Fréchet distance between two such pairs.

FID is this distance over a network's pooled features ("GANs Trained by a Two Time-Scale Update Rule", arXiv 1706.08500,
eq. 6), sFID the same over a map of an early layer ("Generating Images with Sparse Representations", arXiv 2103.03841).
All is float64. Batches are joined by the update of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances", 1979), so that no mean square is ever subtracted from another.

Knows no network and no image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1024  # joined in one product: the matrix of products is read and written once for each

Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A normal distribution: mean (D,), covariance (D, D), both float64."""

    mean: Float64s
    covariance: Float64s

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)


class Moments:
    """The mean and covariance of rows that come in batches; it keeps D x D numbers, however many rows come."""

    def __init__(self) -> None:
        self._rows: list[Float64s] = []
        self._waiting = 0
        self._count = 0
        self._mean: Float64s = np.zeros(0)
        self._products: Float64s = np.zeros((0, 0))  # of deviations from the mean, summed over all rows

    def add(self, rows: np.ndarray) -> None:
        """Takes rows (n, D) of any number format."""
        self._rows.append(np.asarray(rows, np.float64))
        self._waiting += len(rows)
        if self._waiting >= _ROWS_AT_ONCE:
            self._join()

    def statistics(self) -> Statistics:
        """The statistics of all rows so far, with the unbiased covariance.

        Raises:
            ValueError: they are fewer than two.
        """
        self._join()
        if self._count < 2:
            raise ValueError(f"a covariance needs 2 rows at least, got {self._count}")
        return Statistics(self._mean.copy(), self._products / (self._count - 1))

    def _join(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._rows)
        self._rows, self._waiting = [], 0
        mean = rows.mean(axis=0)
        rows = rows - mean
        products = rows.T @ rows
        if not self._count:
            self._count, self._mean, self._products = len(rows), mean, products
            return
        total = self._count + len(rows)
        offset = mean - self._mean
        self._products += products + np.outer(offset, offset) * (self._count * len(rows) / total)
        self._mean = self._mean + offset * (len(rows) / total)
        self._count = total


def statistics_of(rows: np.ndarray) -> Statistics:
    """The statistics of rows (N, D) that are all there.

    Raises:
        ValueError: they are fewer than two.
    """
    moments = Moments()
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        moments.add(rows[first : first + _ROWS_AT_ONCE])
    return moments.statistics()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|² + trace(cov_a + cov_b - 2 sqrt(cov_a cov_b)), at least 0.

    Taken by eigenvalues of a symmetric matrix, which a singular covariance (fewer rows than columns) does not disturb.

    Raises:
        ValueError: they are of different widths.
    """
    if a.width != b.width:
        raise ValueError(f"features of {a.width} and of {b.width} numbers have no distance")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    # trace sqrt(A B) = trace sqrt(A^½ B A^½), and the latter matrix is symmetric
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(0.0)).sum()
    offset = a.mean - b.mean
    distance = offset @ offset + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * cross
    return float(max(distance, 0.0))  # rounding alone makes it negative
