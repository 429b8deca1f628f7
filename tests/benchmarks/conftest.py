"""One tiny checkpoint of random weights for all that is measured dry."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.bench import Bench, folders


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A section's world on the processor, its checkpoints written."""
    work: Path = tmp_path_factory.mktemp("gpu")
    bench = Bench(torch.device("cpu"), work, time.time())
    assert [row["resolution"] for row in folders(bench, "")] == list(bench.resolutions)
    return bench
