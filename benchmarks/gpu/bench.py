"""What every section works with: the device, the sizes that it is measured at, the weights, the ceilings of the day."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks import timing
from benchmarks.gpu.sections import Row
from benchmarks.random_models import Sizes, at_latent_side, write_folder

if TYPE_CHECKING:
    from dit_serve import Pipeline


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is: DiT-XL/2, or a dry run that ends within a minute on a processor."""

    model: Sizes  # of the random weights
    latent_sides: tuple[int, int]  # of the two resolutions; 32 is 256 pixels
    sequences: tuple[int, ...]  # in one step, those that decide first
    images: int  # made at once, end to end; as many of each sampler for invariance
    steps: tuple[int, int]  # of an image; the last is that of the latency and of the quality
    runs: int  # timed of anything that is timed; of whole images a fraction
    matrix_side: int  # of the ceiling's matrices
    copied_bytes: int  # of the ceiling's copy
    requests: int  # to the service, whose images are compared byte by byte


FULL = Scale(Sizes(), (32, 64), (64, 16, 2, 32, 8, 4, 1), 16, (20, 50), 10, 8192, 2**30, 200)
TINY = Scale(Sizes(2, 2, 72, (16, 32, 32, 32), 1, 8), (8, 16), (4, 2, 1), 2, (2, 5), 2, 64, 2**16, 12)


@dataclass(frozen=True, slots=True)
class Bench:
    """One section's world."""

    device: torch.device  # that is measured
    work: Path  # folder that all sections share
    began: float  # when the process was started, in seconds since the epoch

    @property
    def scale(self) -> Scale:
        return FULL if self.device.type == "cuda" else TINY

    @property
    def resolutions(self) -> dict[int, int]:
        """Return the latents' side of each resolution in pixels, the smaller first."""
        return {8 * side: side for side in self.scale.latent_sides}

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format that is served; on a processor the one that Triton's interpreter multiplies too."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def folder(self, resolution: int) -> Path:
        return self.work / f"random-{resolution}"

    def load(self, resolution: int, *, batch_invariant: bool = True, precision: str | None = None) -> Pipeline:
        """Return our pipeline on the random weights, ready for its first image."""
        from dit_serve import load_pipeline  # seconds of import, which the sections without a model do without

        pipeline = load_pipeline(
            self.folder(resolution), device=str(self.device), dtype=self.dtype, batch_invariant=batch_invariant,
            precision=precision,
        )
        pipeline.warm_up()
        for layer, ways in pipeline.model.products.chosen.items():  # to the section's log
            print(f"{layer}: {ways}")
        return pipeline

    @property
    def largest(self) -> dict[str, float]:
        """Return the largest rates of the device by unit, as the first section found them; none if it did not."""
        path = self.work / "ceilings.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def peak_gib(self) -> float | None:
        """Return the most device memory that torch took since `clear`, graphs' pools too; None where nobody counts."""
        return torch.cuda.max_memory_reserved(self.device) / 2**30 if self.device.type == "cuda" else None

    def clear(self) -> None:
        """Give back the device memory of what is no longer held, and count from here."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


def ceilings(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row a ceiling: of a large matrix product on random data and of a copy; the best bound what follows."""
    side, size, runs = bench.scale.matrix_side, bench.scale.copied_bytes, 4 * bench.scale.runs
    amounts = {"TFLOP/s": 2.0 * side**3, "GB/s": 2.0 * size}  # read and written
    names = {"TFLOP/s": f"matrix product, {side} a side", "GB/s": f"copy of {size} bytes"}
    spreads = timing.ceilings(bench.dtype, bench.device, side, size, runs)
    best, median = (
        {unit: timing.rate(amounts[unit], unit, getattr(spread, which)) for unit, spread in spreads.items()}
        for which in ("least", "median")
    )
    (bench.work / "ceilings.json").write_text(json.dumps(best), encoding="utf-8")
    for unit, work in names.items():
        yield {"work": work, "unit": unit, "best": best[unit], "median": median[unit]}


def folders(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row a resolution: how large its random weights are and how long it took to write them."""
    small, large = bench.resolutions
    began = time.perf_counter()
    write_folder(bench.folder(small), bench.scale.model, bench.resolutions[small], 0, bench.device)
    at_latent_side(bench.folder(small), bench.folder(large), bench.resolutions[large])
    size = sum(path.stat().st_size for path in bench.folder(small).rglob("*") if path.is_file())
    for resolution in bench.resolutions:
        yield {"resolution": resolution, "gib": size / 2**30, "seconds": time.perf_counter() - began}
