"""What bfloat16 and fp8 cost in quality: whole walks of 50 steps, on the same weights and the same noise.

    python -m benchmarks.bench_quality                      # the demo models, and 2 blocks of DiT-XL/2's width
    python -m benchmarks.bench_quality --images 32 --out FILE

A row a model and arithmetic: "ours" is the pipeline as it is served; "torch's operators" the same pipeline with every
op of kernels/ in its definition's form, which is torch's own bfloat16; on a processor there is little between them.
Both are held against float32, by torch's operators; our fp8 against our bfloat16. The error is
|latents - the other's| / |the other's|; PSNR and the largest difference are of the 8-bit pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.random_models import Sizes, write_folder
from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.registry import DEMOS

if TYPE_CHECKING:
    from benchmarks.gpu.bench import Bench

KERNELS = (
    "add_bias", "attention", "gate_residual_layernorm_modulate", "groupnorm_silu", "layernorm_modulate", "linear",
    "sampler_step",
)
OPS = [importlib.import_module(f"dit_serve.kernels.{name}") for name in KERNELS]
SHALLOW = Sizes(layers=2, vae_channels=(32, 64, 128, 128), vae_layers=1)  # DiT-XL/2's width, in a processor's reach
AT_ONCE = 8
BFLOAT16, FP8 = "ours, bfloat16", "ours, fp8"


class Walk(NamedTuple):
    """Where images of one arithmetic ended."""

    latents: NDArray[np.float32]  # (N, C, h, w)
    pixels: NDArray[np.uint8]  # (N, H, W, 3)


@dataclass(frozen=True, slots=True)
class Difference:
    """One row: how far images of an arithmetic are from those of another, of the same seeds."""

    model: str
    arithmetic: str  # whose, in what number format
    against: str  # likewise
    images: int
    error: float  # of the latents, |a - b| / |b|
    psnr: float | None  # of the pictures, in dB over all their pixels; None if they are equal
    largest: int  # difference of two pixels' values, of 255


def differences(model: str, checkpoint: str | Path, device: str, images: int, steps: int) -> Iterator[Difference]:
    """Yield a row for torch's bfloat16 and one for ours, against float32, and one for our fp8, against our bfloat16.

    fp8 is measured on every device: where there are no such products, by their definitions in wider numbers.
    """
    load = partial(load_pipeline, checkpoint, device=device)
    with torch_operators():  # and no warm-up, which would choose among other ways to multiply
        exact, theirs = (walk(load(dtype=dtype), images, steps) for dtype in (torch.float32, torch.bfloat16))
    yield difference(model, ("torch's operators, bfloat16", theirs), ("float32", exact))
    walks: dict[str, Walk] = {}
    for name in (BFLOAT16, FP8):
        pipeline = load(dtype=torch.bfloat16)
        if name == FP8:
            pipeline.model.quantise()
        pipeline.warm_up()
        walks[name] = walk(pipeline, images, steps)
    yield difference(model, (BFLOAT16, walks[BFLOAT16]), ("float32", exact))
    yield difference(model, (FP8, walks[FP8]), (BFLOAT16, walks[BFLOAT16]))


def walk(pipeline: Pipeline, images: int, steps: int) -> Walk:
    """Return a pipeline's images of seeds 0, 1, … and classes in turn, guided."""
    latents, pixels = list[NDArray[np.float32]](), list[NDArray[np.uint8]]()
    specs = [SampleSpec(seed % pipeline.info.num_classes, seed, steps) for seed in range(images)]
    for first in range(0, images, AT_ONCE):
        samples = [pipeline.begin(spec) for spec in specs[first : first + AT_ONCE]]
        for _ in range(steps):
            pipeline.step(samples)
        latents += [sample.latents[0].float().cpu().numpy() for sample in samples]
        pixels += pipeline.decode(samples)
    return Walk(np.stack(latents), np.stack(pixels))


def difference(model: str, of: tuple[str, Walk], against: tuple[str, Walk]) -> Difference:
    """Return the row of an arithmetic's images against another's, each with its name."""
    (name, found), (other, exact) = of, against
    a, b = found.latents.astype(np.float64), exact.latents.astype(np.float64)
    apart = found.pixels.astype(np.float64) - exact.pixels
    squared = float(np.square(apart).mean())
    psnr = 10 * float(np.log10(255**2 / squared)) if squared else None
    error = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return Difference(model, name, other, len(a), error, psnr, int(np.abs(apart).max()))


@contextlib.contextmanager
def torch_operators() -> Iterator[None]:
    """Let every op take its definition on every device: whether it takes another form is asked of `takes_…`."""
    with contextlib.ExitStack() as stack:
        for op in OPS:
            for choice in [name for name in vars(op) if name.startswith("takes_")]:
                stack.enter_context(mock.patch.object(op, choice, never))  # a Mock would keep every tensor it is asked
        yield


def never(*tensors: object, **least: object) -> bool:
    """Return that another form is not taken."""
    return False


def table(rows: Sequence[Difference]) -> str:
    heads = ("model", "arithmetic", "against", "images", "error of latents", "PSNR, dB", "largest difference")

    def cells(row: Difference) -> tuple[object, ...]:
        psnr = "equal" if row.psnr is None else f"{row.psnr:.1f}"
        return row.model, row.arithmetic, row.against, row.images, f"{row.error:.2e}", psnr, f"{row.largest} of 255"

    return report.table(heads, list(map(cells, rows)))


def rows(bench: Bench, argument: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of both models of `trained_and_random`, for benchmarks/gpu.sh."""
    images, steps = min(bench.scale.images, 4), bench.scale.steps[-1]
    for name, checkpoint in trained_and_random(bench).items():
        yield from map(asdict, differences(name, checkpoint, str(bench.device), images, steps))


def trained_and_random(bench: Bench) -> dict[str, str | Path]:
    """Return the checkpoints, by name, of a trained demo model and of the random DiT-XL/2 at the smaller resolution."""
    small = min(bench.resolutions)
    return {DEMOS[0]: DEMOS[0], f"random, {small} px": bench.folder(small)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--images", type=int, default=32, help="of each demo model; a quarter of them of the wide one")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    heading = f"{platform.machine()}, {options.device}, torch {torch.__version__}, {options.steps} steps, ddim, cfg 4"
    with tempfile.TemporaryDirectory() as folder:
        wide = str(Path(folder) / "wide")
        write_folder(Path(wide), SHALLOW, 32, seed=0, device=torch.device("cpu"))
        asked = [(name, name, options.images) for name in DEMOS]
        asked += [("2 blocks of DiT-XL/2's width, random", wide, max(options.images // 4, 1))]
        found = [row for name, checkpoint, images in asked
                 for row in differences(name, checkpoint, options.device, images, options.steps)]
    text = f"{heading}\n\n{table(found)}"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
