"""The figures behind the plots and the tables: which points belong to which question.

Knows neither SVG nor markdown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.scaling.plan import BEST_BLOCK
from benchmarks.scaling.results import Measured, Model, Study
from dit_serve.models.architecture import CONDITIONED

BLOCK_ORDER: dict[str, int] = {block: i for i, block in enumerate(CONDITIONED)}
PASSES = 3  # of a training step, in forward passes: one forward, two backward (section 4 of the paper)


@dataclass(frozen=True, slots=True)
class Curve:
    """Values by some abscissa, of one network of one seed."""

    model: Model
    x: tuple[float, ...]
    distance: tuple[float, ...]


def final(study: Study) -> list[Measured]:
    """The family at the end of its training, sampled in the plan's way, the cheapest first."""
    found = [point for point in plainly_sampled(study) if point.step == study.about["plan"]["steps"]]
    return sorted((p for p in found if p.model.conditioning == BEST_BLOCK), key=lambda point: point.model.gflops)


def plainly_sampled(study: Study) -> list[Measured]:
    """All points with the plan's sampling steps and without guidance."""
    steps = study.about["plan"]["sampling_steps"]
    return [point for point in study.points if (point.sampling_steps, point.guidance_scale) == (steps, 1.0)]


def over_training(study: Study) -> list[Curve]:
    """Distance by training step, of the family."""
    points = [point for point in plainly_sampled(study) if point.model.conditioning == BEST_BLOCK]
    return _curves(points, lambda point: point.step)


def over_compute(study: Study) -> list[Curve]:
    """Distance by all multiply-adds of the training so far in 1e9: model x batch x steps x 3 (the paper's figure 9)."""
    batch = study.about["plan"]["batch_size"]
    points = [point for point in plainly_sampled(study) if point.model.conditioning == BEST_BLOCK]
    return _curves(points, lambda point: point.model.gflops * batch * point.step * PASSES)


def over_training_by_block(study: Study) -> list[Curve]:
    """Distance by training step of the four blocks, in the paper's order, all of one size."""
    plan = study.about["plan"]
    width, patch = plan["sizes"][plan["block_size"]]["hidden_size"], plan["patches"][0]
    points = [p for p in plainly_sampled(study) if (p.model.hidden_size, p.model.patch_size) == (width, patch)]
    curves = _curves(points, lambda point: point.step)
    return sorted(curves, key=lambda curve: (BLOCK_ORDER[curve.model.conditioning], curve.model.seed))


def over_sampling(study: Study) -> list[Curve]:
    """Distance by multiply-adds of one picture in 1e9, of every size at the finest patch."""
    return _curves(sampling_points(study), lambda point: point.sampling_gflops)


def sampling_points(study: Study) -> list[Measured]:
    """The points of the stage about sampling steps."""
    plan = study.about["plan"]
    return [
        point
        for point in study.points
        if point.sampling_steps in plan["ladder"]
        and (point.step, point.guidance_scale) == (plan["steps"], 1.0)
        and (point.model.patch_size, point.model.conditioning) == (plan["patches"][0], BEST_BLOCK)
    ]


def guided(study: Study) -> list[Measured]:
    """The largest model by guidance scale."""
    plan = study.about["plan"]
    width, patch = plan["sizes"][-1]["hidden_size"], plan["patches"][0]
    found = [
        point
        for point in study.points
        if (point.step, point.sampling_steps) == (plan["steps"], plan["sampling_steps"])
        and (point.model.hidden_size, point.model.patch_size) == (width, patch)
        and point.model.conditioning == BEST_BLOCK
    ]
    return sorted(found, key=lambda point: (point.guidance_scale, point.model.seed))


def correlation(points: Sequence[Measured]) -> float:
    """Pearson's coefficient of the logarithm of Gflops and the distance, as figure 8 of the paper draws them.

    Raises:
        ValueError: they are fewer than three points.
    """
    if len(points) < 3:
        raise ValueError(f"a correlation needs 3 points at least, got {len(points)}")
    gflops = [math.log10(point.model.gflops) for point in points]
    return float(np.corrcoef(gflops, [point.quality.distance for point in points])[0, 1])


def token_values(study: Study, model: Model) -> int:
    """How many latent values a token stands for: all of its patch, whose noise a model passes through its width."""
    return int(study.about["latent_channels"]) * model.patch_size**2


def wide_enough(study: Study, points: Sequence[Measured]) -> list[Measured]:
    """Those whose width holds all values of a token, as that of every model of the paper does."""
    return [point for point in points if point.model.hidden_size >= token_values(study, point.model)]


@dataclass(frozen=True, slots=True)
class Passing:
    """How many steps a model needs to be better than the next smaller one ever is.

    Attributes:
        smaller: at its best, over all numbers of steps.
        larger: with the fewest steps that are better; None where none are.
    """

    smaller: Measured
    larger: Measured | None


def passings(study: Study) -> list[Passing]:
    """Each model at the finest patch but the largest, of each seed, against the next larger one."""
    points = sampling_points(study)
    found = []
    for seed in dict.fromkeys(point.model.seed for point in points):
        models = dict.fromkeys(point.model for point in points if point.model.seed == seed)
        for small, large in pairwise(sorted(models, key=lambda model: model.gflops)):
            best = min((p for p in points if p.model == small), key=lambda point: point.quality.distance)
            better = [p for p in points if p.model == large and p.quality.distance < best.quality.distance]
            found.append(Passing(best, min(better, key=lambda point: point.sampling_steps, default=None)))
    return found


def overtaken(study: Study) -> list[Measured]:
    """Every larger model and number of steps that a smaller one of no more compute is better than."""
    points = sampling_points(study)
    return [
        larger
        for larger in points
        if any(
            smaller.quality.distance < larger.quality.distance
            for smaller in points
            if smaller.model.seed == larger.model.seed
            and smaller.model.gflops < larger.model.gflops
            and smaller.sampling_gflops <= larger.sampling_gflops
        )
    ]


def _curves(points: Sequence[Measured], abscissa: Callable[[Measured], float]) -> list[Curve]:
    """The points of each network as one curve."""
    found = []
    for model in dict.fromkeys(point.model for point in points):
        own = sorted((abscissa(point), point.quality.distance) for point in points if point.model == model)
        found.append(Curve(model, tuple(x for x, _ in own), tuple(distance for _, distance in own)))
    return found
