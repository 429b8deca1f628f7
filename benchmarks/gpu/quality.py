"""Whole walks in bfloat16 against float32 on this card: the random DiT-XL/2 and a trained demo model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.bench_quality import differences
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row

DEMO = "digits-64"


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each model and arithmetic."""
    small = next(iter(bench.resolutions))
    images, steps = bench.scale.images, bench.scale.steps[0]
    asked = ((f"random, {small} px", bench.folder(small), images), (DEMO, DEMO, 4 * images))
    for name, checkpoint, count in asked:
        for found in differences(name, checkpoint, str(bench.device), count, steps):
            yield asdict(found)
