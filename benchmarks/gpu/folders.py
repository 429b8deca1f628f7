"""The random checkpoints that the other sections load, written once: DiT-XL/2's weights at two resolutions."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.random_models import at_latent_side, write_folder

SEED = 0


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row a resolution: how large its files are and how long it took to write them."""
    small, large = bench.resolutions
    began = time.perf_counter()
    write_folder(bench.folder(small), bench.scale.model, bench.resolutions[small], SEED, bench.device)
    at_latent_side(bench.folder(small), bench.folder(large), bench.resolutions[large])
    size = sum(path.stat().st_size for path in bench.folder(small).rglob("*") if path.is_file())
    for resolution in bench.resolutions:
        yield {"resolution": resolution, "gib": size / 2**30, "seconds": time.perf_counter() - began}
