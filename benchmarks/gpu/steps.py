"""One step of the random DiT-XL/2 through the pipeline's door, for each number of sequences; and the promise of same
bytes on this card: every image alone, then all of them in mixed batches that others join.

A step's rate counts the network's operations alone (237.2 GFLOP a sequence at 256 pixels, 1049.1 at 512); its time is
all of the step, the update and what the processor does included.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from benchmarks.bare import make_all
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import measure, rate
from dit_serve import Pipeline, SampleSpec
from dit_serve.models.registry import multiply_adds
from dit_serve.models.sampling.decoding import Pixels
from dit_serve.models.sampling.sampler import SAMPLERS

MIXES = 3
AT_ONCE = 32
WARM = 2  # runs that timing.measure does not count


def resolutions(bench: Bench, precision: str) -> list[int]:
    """Return what is measured: of another precision than the usual one, "", the smaller resolution alone."""
    return list(bench.resolutions)[: 1 if precision else 2]


def rows(bench: Bench, precision: str) -> Iterator[Row]:
    """Yield a row for each resolution and number of sequences, as served in that precision."""
    for resolution in resolutions(bench, precision):
        pipeline = bench.load(resolution, precision=precision or None)
        for sequences in bench.scale.sequences:
            yield row(bench, pipeline, resolution, sequences)
        del pipeline
        bench.clear()


def row(bench: Bench, pipeline: Pipeline, resolution: int, sequences: int) -> Row:
    """Return the time of a step: of one image without guidance, or of half as many guided ones as sequences."""
    runs = bench.scale.runs
    scale = 1.0 if sequences == 1 else 4.0
    specs = [SampleSpec(0, seed, WARM + runs, scale) for seed in range(max(sequences // 2, 1))]
    samples = [pipeline.begin(spec) for spec in specs]
    spread = measure(lambda: pipeline.step(samples), bench.device, runs=runs)
    reached = rate(2.0 * multiply_adds(pipeline.checkpoint.config) * sequences, "TFLOP/s", spread.median)
    ceiling = bench.largest.get("TFLOP/s")
    times = {"median_ms": spread.median, "least_ms": spread.least}
    share = reached / ceiling if ceiling else None
    return {"resolution": resolution, "sequences": sequences, **times, "tflops": reached, "share": share}


def invariance(bench: Bench, precision: str) -> Iterator[Row]:
    """Yield a row for each resolution and sampler: how many images were compared and how many differed."""
    for resolution in resolutions(bench, precision):
        pipeline = bench.load(resolution, precision=precision or None)
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
        del pipeline
        bench.clear()


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
