"""One step of the random DiT-XL/2 through the pipeline's door, for each number of sequences; and each kernel's rate.

A step's rate counts the network's operations alone (237.2 GFLOP a sequence at 256 pixels, 1049.1 at 512); its time is
all of the step, the update and what the processor does included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.bench_kernels import ceiling_rates, results
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import measure, rate
from dit_serve import Pipeline, SampleSpec
from dit_serve.models.registry import multiply_adds

WARM = 2  # runs that timing.measure does not count


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each resolution and number of sequences, first as served, then with any shape allowed."""
    for batch_invariant in (True, False):
        for resolution in bench.resolutions:
            pipeline = bench.load(resolution, batch_invariant=batch_invariant)
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
    return {
        "resolution": resolution,
        "batch_invariant": pipeline.model.batch_invariant,
        "sequences": sequences,
        "median_ms": spread.median,
        "least_ms": spread.least,
        "tflops": reached,
        "share": reached / ceiling if ceiling else None,
    }


def kernels(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each kernel and shape: its rate beside torch's operators and what torch.compile makes of them."""
    for result in results(bench.dtype, bench.device, bench.largest or ceiling_rates(bench.dtype, bench.device)):
        yield asdict(result)
