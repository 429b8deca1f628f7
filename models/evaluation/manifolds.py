"""Precision and recall: how many samples lie where real images do, and how many real images lie where samples do.

Each set's manifold is a union of balls, one around each of its points, that reaches to its k-th nearest neighbour of
the same set ("Improved Precision and Recall Metric for Assessing Generative Models", arXiv 1904.06991, section 3; k = 3
as in the paper and in ADM's evaluator). Distances are compared squared, in float64; the evaluator compares them in
float16 where that does not overflow.

Blocks of rows against blocks of columns, so that no matrix of all distances exists: 50,000 points need some 200 MB
beside the features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

NEIGHBOURS = 3
BLOCK = 2048  # rows and columns of distances at once, 32 MiB


def precision_recall(
    samples: np.ndarray,
    reference: np.ndarray,
    neighbours: int = NEIGHBOURS,
    *,
    block: int = BLOCK,
    device: torch.device | None = None,
) -> tuple[float, float]:
    """(precision, recall) of samples (N, D) against a reference (M, D).

    Args:
        neighbours: k.
        block: rows and columns of distances at once; the result does not depend on it but by rounding.
        device: where distances are computed; one without float64 is passed over for the processor.

    Raises:
        ValueError: a set has no k-th neighbour, or they are of different widths.
    """
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(f"features of {samples.shape[1]} and of {reference.shape[1]} numbers have no distance")
    if min(len(samples), len(reference)) <= neighbours:
        raise ValueError(f"a point needs {neighbours} neighbours, got {min(len(samples), len(reference))} points")
    place = device if device is not None and device.type == "cuda" else torch.device("cpu")
    blocks_a, blocks_b = _Blocks(samples, block, place), _Blocks(reference, block, place)
    reach_a, reach_b = _reaches(blocks_a, neighbours), _reaches(blocks_b, neighbours)
    inside_a = torch.zeros(len(samples), dtype=torch.bool, device=place)
    inside_b = torch.zeros(len(reference), dtype=torch.bool, device=place)
    for rows, a in blocks_a:
        for columns, b in blocks_b:
            distances = _squared_distances(a, b)
            inside_a[rows] |= (distances <= reach_b[columns]).any(dim=1)
            inside_b[columns] |= (distances <= reach_a[rows, None]).any(dim=0)
    return float(inside_a.double().mean()), float(inside_b.double().mean())


class _Blocks:
    """Rows of features in float64 on a device, a block at a time: (which rows, (n, D))."""

    def __init__(self, features: np.ndarray, block: int, device: torch.device) -> None:
        self.count = len(features)
        self.device = device
        self._features = features
        self._block = block

    def __iter__(self) -> Iterator[tuple[slice, torch.Tensor]]:
        return self.starting_at(0)

    def starting_at(self, first: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """The blocks from that row on, which begins one."""
        for start in range(first, self.count, self._block):
            rows = slice(start, min(start + self._block, self.count))
            copied = torch.from_numpy(self._features[rows].copy())  # those of a file may not be written to
            yield rows, copied.to(self.device, torch.float64)


def _reaches(points: _Blocks, neighbours: int) -> torch.Tensor:
    """The squared distance of each point's k-th nearest neighbour: (N,) float64. A point is its own 0-th."""
    nearest = torch.full((points.count, neighbours + 1), torch.inf, dtype=torch.float64, device=points.device)
    for rows, a in points:
        for columns, b in points.starting_at(rows.start):
            distances = _squared_distances(a, b)
            nearest[rows] = _smallest(nearest[rows], distances)
            if columns != rows:  # the same distances, seen from the other side
                nearest[columns] = _smallest(nearest[columns], distances.T)
    return nearest.amax(dim=1)


def _smallest(kept: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
    """The smallest of each row's kept values (n, k) and more of them (n, m): (n, k)."""
    k = kept.shape[1]
    best = more.topk(min(k, more.shape[1]), dim=1, largest=False, sorted=False).values
    return torch.cat([kept, best], dim=1).topk(k, dim=1, largest=False, sorted=False).values


def _squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a_i - b_j|² for a (n, D) and b (m, D): (n, m), at least 0."""
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return torch.addmm(squares, a, b.T, alpha=-2.0).clamp_(min=0.0)
