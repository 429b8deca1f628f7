"""How good the digits are: does a judge trained on real ones read them, and are they spread as real ones are?

Two figures for images from any source. *Recognised*: the share of images in which an SVM, trained on the real train
part alone (99 % on the held-out quarter), reads the class that was asked for. *Distance*: the Fréchet distance between
normal distributions fitted to generated and to held-out real digits ("GANs Trained by a Two Time-Scale Update Rule",
arXiv 1706.08500, eq. 6), taken over the 64 pixels of an 8x8 area average on the scans' scale of 0 to 16 in place of a
network's features. The train part itself is 22.6 away from the held-out quarter.

Knows pixels and labels; the images come from a callable, so nothing here depends on how they were made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dit_serve.models.training.datasets import DIGIT_INK, DIGIT_NAMES, DIGIT_SIDE, split_digits
from dit_serve.models.training.upsampling import area_averages

Pixels = NDArray[np.uint8]
Generate = Callable[[Sequence[int], Sequence[int], float], list[Pixels]]  # (class ids, seeds, cfg) -> (H, W, 3) each
DEFAULT_SCALES = (1.0, 1.25, 1.5, 2.0, 4.0)
BATCH = 100  # images asked for at once


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured at one guidance scale."""

    guidance_scale: float
    recognised: float  # share of images read as the class asked for
    distance: float  # Fréchet distance to the held-out quarter
    images: int


class Judge:
    """Reads digits as a support vector machine trained on the real train part does."""

    def __init__(self) -> None:
        from sklearn.svm import SVC

        (scans, labels), (self.held_out, _) = split_digits()
        self._svm: Any = SVC(gamma=0.001, C=10).fit(scans, labels)

    def recognised(self, scans: np.ndarray, class_ids: Sequence[int]) -> float:
        """The share of scans (N, 64) in 0..16 that are read as their class."""
        return float(np.mean(self._svm.predict(scans) == np.asarray(class_ids)))

    def distance(self, scans: np.ndarray) -> float:
        """Fréchet distance of scans (N, 64) in 0..16 to the held-out quarter."""
        return frechet_distance(scans, self.held_out)


def measure(generate: Generate, judge: Judge, guidance_scale: float, count: int) -> Quality:
    """The quality of `count` images, classes in turn, seeds 0 to count - 1: the same figures on every run."""
    class_ids = [i % len(DIGIT_NAMES) for i in range(count)]
    scans = []
    for start in range(0, count, BATCH):
        seeds = range(start, min(start + BATCH, count))
        scans.append(to_scans(generate([class_ids[seed] for seed in seeds], list(seeds), guidance_scale)))
    found = np.concatenate(scans)
    return Quality(guidance_scale, judge.recognised(found, class_ids), judge.distance(found), count)


def to_scans(images: Sequence[Pixels]) -> np.ndarray:
    """Images (H, W, 3) uint8 as scans of 8x8 pixels in 0..16: (N, 64) float64."""
    grey = np.stack(images).mean(axis=3) / 255.0 * DIGIT_INK
    return area_averages(grey, DIGIT_SIDE).reshape(len(images), -1)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|mean_a - mean_b|² + trace(cov_a + cov_b - 2 sqrt(cov_a cov_b)) for samples a (N, D) and b (M, D)."""
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    # trace sqrt(A B) = trace sqrt(A^½ B A^½), and the latter matrix is symmetric
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(0.0)).sum()
    offset = a.mean(axis=0) - b.mean(axis=0)
    return float(offset @ offset + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * cross)


def best_distance(measured: Sequence[Quality]) -> Quality:
    """The measurement with the smallest distance."""
    return min(measured, key=lambda quality: quality.distance)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the named checkpoints of digits and prints a table each."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.evaluation.digits", description=main.__doc__)
    parser.add_argument("checkpoints", nargs="*", default=["digits-64", "digits-128"], help="demo names or folders")
    parser.add_argument("--images", type=int, default=1000, help="images for each guidance scale")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--cfg", type=float, nargs="+", default=list(DEFAULT_SCALES), help="guidance scales")
    options = parser.parse_args(arguments)
    judge = Judge()
    for checkpoint in options.checkpoints:
        generate = _from_pipeline(checkpoint, options.steps, options.sampler)
        measured = [measure(generate, judge, scale, options.images) for scale in options.cfg]
        Console().print(_table(checkpoint, options.steps, measured))


def _from_pipeline(checkpoint: str, steps: int, sampler: str) -> Generate:
    """A source of images that samples a checkpoint."""
    from dit_serve.models.pipeline import load_pipeline

    pipeline = load_pipeline(checkpoint)

    def generate(class_ids: Sequence[int], seeds: Sequence[int], guidance_scale: float) -> list[Pixels]:
        images = pipeline.generate(class_ids, seeds, steps=steps, guidance_scale=guidance_scale, sampler=sampler)
        return cast(list[Pixels], images)

    return generate


def _table(checkpoint: str, steps: int, measured: Sequence[Quality]) -> Table:
    best = best_distance(measured)
    table = Table("cfg", "recognised", "distance", title=f"{checkpoint}: {best.images} images, {steps} steps")
    for quality in measured:
        mark = " (best)" if quality is best else ""
        table.add_row(f"{quality.guidance_scale:g}", f"{quality.recognised:.1%}", f"{quality.distance:.1f}{mark}")
    return table


if __name__ == "__main__":
    main()
