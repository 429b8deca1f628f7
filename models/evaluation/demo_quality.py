"""How good the demo models are: does a judge trained on real pictures read theirs, and are they spread as those are?

    python -m dit_serve.models.evaluation.demo_quality digits-64 fashion-64 --images 2000

Two figures for images from any source. *Recognised*: the share of images in which a classifier, trained on the real
train part alone, reads the class that was asked for. *Distance*: the Fréchet distance of the images' features to those
of real pictures that nothing was trained on. A judge (digits.py, clothes.py) has the classifier, the features and the
real pictures; the images come from a callable, so nothing here depends on how they were made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dit_serve.models.evaluation.statistics import Moments, Statistics, frechet_distance

Pixels = NDArray[np.uint8]
Generate = Callable[[Sequence[int], Sequence[int], float], list[Pixels]]  # (class ids, seeds, cfg) -> (H, W, 3) each
DEFAULT_SCALES = (1.0, 1.25, 1.5, 2.0, 4.0)
BATCH = 100  # images asked for at once


class Judge(Protocol):
    """A classifier with features, and the features of real pictures."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, by class id."""
        ...

    @property
    def real(self) -> Statistics:
        """Of the features of real pictures that nothing was trained on."""
        ...

    def read(self, images: Sequence[Pixels]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The features (N, D) of images (H, W, 3), and the classes (N,) that it reads."""
        ...


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured at one guidance scale."""

    guidance_scale: float
    recognised: float  # share of images read as the class asked for
    distance: float  # Fréchet distance to real pictures
    images: int


def measure(generate: Generate, judge: Judge, guidance_scale: float, count: int) -> Quality:
    """The quality of `count` images, classes in turn, seeds 0 to count - 1: the same figures on every run."""
    moments, right = Moments(), 0
    for start in range(0, count, BATCH):
        seeds = range(start, min(start + BATCH, count))
        class_ids = [seed % len(judge.names) for seed in seeds]
        features, found = judge.read(generate(class_ids, list(seeds), guidance_scale))
        moments.add(features)
        right += int((found == np.asarray(class_ids)).sum())
    return Quality(guidance_scale, right / count, frechet_distance(moments.statistics(), judge.real), count)


def best_distance(measured: Sequence[Quality]) -> Quality:
    """The measurement with the smallest distance."""
    return min(measured, key=lambda quality: quality.distance)


def judge_of(names: Sequence[str]) -> Judge:
    """The judge for a model with classes of these names.

    Raises:
        ValueError: none of them knows these classes.
    """
    from dit_serve.models.evaluation.clothes import ClothesJudge
    from dit_serve.models.evaluation.digits import DigitsJudge

    judges: tuple[type[DigitsJudge] | type[ClothesJudge], ...] = (DigitsJudge, ClothesJudge)
    for judge in judges:
        if tuple(names) == judge.names:
            return judge()
    raise ValueError(f"no judge knows the classes {', '.join(names)[:100]}: it must be a model of digits or of fashion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the named checkpoints and prints a table each."""
    from dit_serve.models.pipeline import load_pipeline

    program = "python -m dit_serve.models.evaluation.demo_quality"
    parser = argparse.ArgumentParser(prog=program, description=main.__doc__)
    parser.add_argument("checkpoints", nargs="*", default=["digits-64", "digits-128"], help="demo names or folders")
    parser.add_argument("--images", type=int, default=1000, help="images for each guidance scale")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--cfg", type=float, nargs="+", default=list(DEFAULT_SCALES), help="guidance scales")
    options = parser.parse_args(arguments)
    for checkpoint in options.checkpoints:
        pipeline = load_pipeline(checkpoint)

        def generate(class_ids: Sequence[int], seeds: Sequence[int], cfg: float, of: Any = pipeline) -> list[Pixels]:
            images = of.generate(class_ids, seeds, steps=options.steps, guidance_scale=cfg, sampler=options.sampler)
            return cast(list[Pixels], images)

        judge = judge_of([names[0] for names in pipeline.info.labels])
        measured = [measure(generate, judge, scale, options.images) for scale in options.cfg]
        Console().print(_table(checkpoint, options.steps, measured))


def _table(checkpoint: str, steps: int, measured: Sequence[Quality]) -> Table:
    best = best_distance(measured)
    table = Table("cfg", "recognised", "distance", title=f"{checkpoint}: {best.images} images, {steps} steps")
    for quality in measured:
        mark = " (best)" if quality is best else ""
        table.add_row(f"{quality.guidance_scale:g}", f"{quality.recognised:.1%}", f"{quality.distance:.3g}{mark}")
    return table


if __name__ == "__main__":
    main()
