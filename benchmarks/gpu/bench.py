"""What every section works with: the device, the sizes that it is measured at, and where the weights lie."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.random_models import Sizes

if TYPE_CHECKING:
    from dit_serve import Pipeline

LATENT_TO_PIXELS = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is: DiT-XL/2, or a dry run that ends within a minute on a processor.

    Attributes:
        model: of the random weights.
        latent_sides: of the two resolutions; 32 is 256 pixels.
        sequences: in one step.
        images: made at once, end to end; as many of each sampler for invariance, and of random weights for quality.
        steps: of an image; the first is that of the latency.
        runs: timed of anything that is timed; of whole images a fraction.
        matrix_side: of the ceiling's matrices.
        copied_bytes: of the ceiling's copy.
    """

    model: Sizes
    latent_sides: tuple[int, int]
    sequences: tuple[int, ...]
    images: int
    steps: tuple[int, int]
    runs: int
    matrix_side: int
    copied_bytes: int


FULL = Scale(Sizes(), (32, 64), (1, 2, 4, 8, 16, 32, 64), 16, (50, 20), 10, 8192, 2**30)
TINY = Scale(Sizes(2, 2, 72, (16, 32, 32, 32), 1, 8), (8, 16), (1, 2, 4), 2, (5, 2), 2, 64, 2**16)


@dataclass(frozen=True, slots=True)
class Bench:
    """One section's world.

    Attributes:
        device: that is measured.
        work: folder that all sections share.
        began: when the process was started, in seconds since the epoch.
    """

    device: torch.device
    work: Path
    began: float

    @property
    def scale(self) -> Scale:
        """Return what fits the device."""
        return FULL if self.device.type == "cuda" else TINY

    @property
    def resolutions(self) -> dict[int, int]:
        """Return the latents' side of each resolution in pixels, the smaller first."""
        return {side * LATENT_TO_PIXELS: side for side in self.scale.latent_sides}

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format that is served; on a processor the one that Triton's interpreter multiplies too."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def folder(self, resolution: int) -> Path:
        """Return where the random checkpoint of a resolution is."""
        return self.work / f"random-{resolution}"

    def load(self, resolution: int, *, batch_invariant: bool = True) -> Pipeline:
        """Return our pipeline on the random weights, ready for its first image."""
        from dit_serve import load_pipeline  # seconds of import, which the sections without a model do without

        pipeline = load_pipeline(
            self.folder(resolution), device=str(self.device), dtype=self.dtype, batch_invariant=batch_invariant
        )
        pipeline.warm_up()
        return pipeline

    def ceilings(self) -> dict[str, float]:
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
