"""Images going by a network: nothing of them is kept, and what is wrong with a network or a source is told."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.measuring import measure
from dit_serve.models.evaluation.networks import Activations
from tests.models.evaluation.standin import WIDTH, StandIn

SIDE = 64


class Passing:
    """Images that are made when they are asked for.

    Args:
        count: as many as are promised.
        given: as many as come.
    """

    name, size, warnings = "passing", (SIDE, SIDE), ()

    def __init__(self, count: int, given: int | None = None) -> None:
        self.count, self._given = count, count if given is None else given

    def identity(self) -> str:
        return "passing"

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        random = np.random.default_rng(0)
        for first in range(0, self._given, size):
            n = min(size, self._given - first)
            yield torch.from_numpy(random.integers(0, 256, (n, 3, SIDE, SIDE), np.uint8))


class Broken(StandIn):
    """A network of damaged weights."""

    def __call__(self, images: torch.Tensor) -> Activations:
        found = super().__call__(images)
        return Activations(found.pooled * torch.nan, found.spatial, found.probabilities)


def test_no_more_than_a_batch_of_images_is_ever_held() -> None:
    count = 1500
    measure(Passing(64), StandIn(), 32)  # what is imported and kept once
    tracemalloc.start()
    measured = measure(Passing(count), StandIn(), 32)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert measured.count == count
    assert measured.features is not None
    assert measured.features.shape == (count, WIDTH)
    assert peak_bytes < count * 3 * SIDE * SIDE / 10


def test_a_network_that_gives_no_numbers_is_told() -> None:
    with pytest.raises(EvaluationError, match="NaN or infinity"):
        measure(Passing(10), Broken(), 5)


def test_a_source_that_ends_early_is_told() -> None:
    with pytest.raises(EvaluationError, match="changed while it was measured"):
        measure(Passing(10, given=7), StandIn(), 5)
