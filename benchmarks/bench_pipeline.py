"""Our pipeline against diffusers' own DiTPipeline: the same weights, the same request, the same run.

    make bench            # or: python -m benchmarks.bench_pipeline --checkpoint FOLDER --batch 8

Both make the same images from the same seeds (the largest difference between their pixels is printed), so the ratio
is speed alone. Guidance is off, because diffusers' pipeline takes class 1000 for the null class of any model. "Free
shapes" is ours without the promise that an image does not depend on its batch. The runs alternate, and the fastest of
each is taken, because a shared machine only ever makes a run slower.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from models import Pipeline, load_pipeline
from models.registry import DEMOS, demo_path


def load_diffusers(folder: Path) -> DiTPipeline:
    """Return diffusers' pipeline on the same folder, silent, with the null class of this model."""
    pipeline = DiTPipeline(
        DiTTransformer2DModel.from_pretrained(folder / "transformer"),
        AutoencoderKL.from_pretrained(folder / "vae"),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def fastest(runs: int, works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least seconds that each of the works took over `runs` alternating runs."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(runs):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def compare(folder: Path, batch: int, steps: int, runs: int) -> None:
    """Print one line: images a second of all three, what invariance costs, the ratio, and how far pixels differ."""
    ours, free = load_pipeline(folder), load_pipeline(folder, batch_invariant=False)
    theirs = load_diffusers(folder)
    classes = [i % ours.num_classes for i in range(batch)]
    seeds = list(range(batch))

    def generate(pipeline: Pipeline) -> np.ndarray:
        return np.stack(pipeline.generate(classes, seeds, steps=steps, guidance_scale=1.0))

    def generate_theirs() -> np.ndarray:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        images = theirs(classes, 1.0, generators, steps, output_type="np").images
        return (images * 255).round().astype(np.uint8)

    difference = np.abs(generate(ours).astype(int) - generate_theirs().astype(int)).max()
    works = {"ours": lambda: generate(ours), "free": lambda: generate(free), "diffusers": generate_theirs}
    seconds = fastest(runs, works)
    speeds = " | ".join(f"{batch / seconds[name]:.2f}" for name in works)
    cost, ratio = seconds["ours"] / seconds["free"] - 1, seconds["diffusers"] / seconds["ours"]
    print(f"| {folder.name} | {batch} | {steps} | {speeds} | {100 * cost:+.0f} % | {ratio:.2f} | {difference} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, action="append", help="diffusers folder; default: both demo models")
    parser.add_argument("--batch", type=int, action="append", help="images at once; default: 1 and 8")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}, float32, cfg 1\n")
    columns = "model | at once | steps | ours, images/s | free | diffusers | invariance costs | ratio | difference"
    print(f"| {columns} |\n|{'---|' * 9}")
    for folder in options.checkpoint or [path for name in DEMOS if (path := demo_path(name))]:
        for batch in options.batch or [1, 8]:
            compare(folder, batch, options.steps, options.runs)


if __name__ == "__main__":
    main()
