"""Precision and recall, against all distances of scipy; and that no matrix of all distances is ever made."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dit_serve.models.evaluation.manifolds import precision_recall

PEAK = """
import resource, sys
import numpy as np, torch
from dit_serve.models.evaluation.manifolds import precision_recall
torch.set_num_threads(1)
random = np.random.default_rng(0)
a, b = (random.normal(size=(4000, 16)).astype(np.float32) for _ in range(2))
precision_recall(a[:600], b[:600], block=256)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
precision_recall(a, b, block=256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def by_all_distances(samples: np.ndarray, reference: np.ndarray, k: int) -> tuple[float, float]:
    """Eq. 1 and 2 of arXiv 1904.06991 as they stand there."""

    def share_inside(points: np.ndarray, manifold: np.ndarray) -> float:
        reach = np.sort(cdist(manifold, manifold), axis=1)[:, k]  # a point is its own 0-th
        return float((cdist(points, manifold) <= reach).any(axis=1).mean())

    return share_inside(samples, reference), share_inside(reference, samples)


@pytest.mark.parametrize("block", [7, 64, 4096])
@pytest.mark.parametrize(("n", "m", "k"), [(90, 120, 3), (50, 11, 3), (65, 64, 1), (40, 40, 5)])
def test_precision_and_recall_are_those_of_all_distances(n: int, m: int, k: int, block: int) -> None:
    random = np.random.default_rng(n)
    samples = random.normal(size=(n, 4)).astype(np.float32)
    reference = (random.normal(size=(m, 4)) * 1.3 + 0.7).astype(np.float32)
    expected = by_all_distances(samples.astype(np.float64), reference.astype(np.float64), k)
    assert 0.0 < expected[0] < 1.0
    assert precision_recall(samples, reference, k, block=block) == expected


def test_far_apart_is_none_and_the_same_is_all() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert precision_recall(points, points + 100.0) == (0.0, 0.0)
    assert precision_recall(points, points) == (1.0, 1.0)


def test_features_of_a_file_are_only_read_and_nothing_is_warned_of() -> None:
    points = np.frombuffer(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32).tobytes(), np.float32)
    torch.set_warn_always(True)  # or torch warns once a process
    try:
        assert precision_recall(points.reshape(50, 3), points.reshape(50, 3)) == (1.0, 1.0)
    finally:
        torch.set_warn_always(False)


def test_copies_of_one_point_are_precise_and_recall_nearly_nothing() -> None:
    reference = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    precision, recall = precision_recall(np.repeat(reference[:1], 30, axis=0), reference)
    assert (precision, recall) == (1.0, pytest.approx(1 / 50))


@pytest.mark.parametrize("counts", [(3, 50), (50, 3)])
def test_a_point_without_enough_neighbours_is_refused(counts: tuple[int, int]) -> None:
    samples, reference = (np.zeros((count, 2), np.float32) for count in counts)
    with pytest.raises(ValueError, match="3 neighbours"):
        precision_recall(samples, reference)


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="features of 2 and of 3"):
        precision_recall(np.zeros((9, 2), np.float32), np.zeros((9, 3), np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux alone")
def test_memory_does_not_grow_with_the_square_of_the_count() -> None:
    ended = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 32_000  # KB; one matrix of 4,000 x 4,000 distances has 125,000
