"""The promise of same bytes on this card: every image alone, then all of them in mixed batches that others join."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from benchmarks.bare import make_all
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from dit_serve import Pipeline, SampleSpec
from dit_serve.models.sampling.decoding import Pixels
from dit_serve.models.sampling.sampler import SAMPLERS

MIXES = 3
AT_ONCE = 32


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each resolution and sampler: how many images were compared and how many differed."""
    for resolution in bench.resolutions:
        pipeline = bench.load(resolution)
        specs = mixed_specs(random.Random(resolution), pipeline.info.num_classes, bench.scale.images)
        alone = images_alone(pipeline, specs)
        compared, differing = dict.fromkeys(SAMPLERS, 0), dict.fromkeys(SAMPLERS, 0)
        for mix in range(MIXES):
            for spec, image in images_mixed(pipeline, specs, random.Random(mix)).items():
                compared[spec.sampler] += 1
                differing[spec.sampler] += not np.array_equal(alone[spec], image)
        for sampler in SAMPLERS:
            counts = {"compared": compared[sampler], "differing": differing[sampler]}
            yield {"resolution": resolution, "sampler": sampler, **counts}


def mixed_specs(draw: random.Random, num_classes: int, images: int) -> list[SampleSpec]:
    """Return so many images of every sampler, which differ in all that images may differ in."""
    return [
        SampleSpec(draw.randrange(num_classes), seed, draw.randint(4, 10), draw.choice((1.0, 1.5, 4.0)), sampler)
        for sampler in SAMPLERS
        for seed in range(images)
    ]


def images_alone(pipeline: Pipeline, specs: list[SampleSpec]) -> dict[SampleSpec, Pixels]:
    """Return each image made with nothing beside it."""
    return dict(make_all(pipeline, specs, lambda rows, spec: not rows))


def images_mixed(pipeline: Pipeline, specs: list[SampleSpec], draw: random.Random) -> dict[SampleSpec, Pixels]:
    """Return the images made together as a server makes them: about two join at each step."""
    mixed = draw.sample(specs, len(specs))
    return dict(make_all(pipeline, mixed, lambda rows, spec: not rows or (len(rows) < AT_ONCE and draw.random() < 0.6)))
