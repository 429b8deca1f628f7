"""Each kernel between the products against torch's own operators, on DiT-XL/2's shapes.

A row a kernel: medians of milliseconds with a cold L2, the rate that the shortest possible traffic or the arithmetic
amounts to, its share of the ceiling, its share of a copy of as many bytes (launched and timed the same way, so that
what a launch costs is in both), and the largest difference from torch's own result. What torch.compile makes of them
is in the peer's whole images: to compile each takes seconds, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.ops import outputs
from benchmarks.gpu.sections import Row, told
from benchmarks.kernel_cases import TIMED, TINY, Case, fused_cases
from benchmarks.timing import captured, measure, rate


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each shape that is timed and kernel; the linear layers are `linear`'s. One that fails says so."""
    for shape in TIMED if bench.device.type == "cuda" else TINY:
        for case in fused_cases(shape, bench.dtype, bench.device):
            try:
                found = row(bench, case)
            except Exception as failure:
                found = {"failed": told(failure)}
            yield {"kernel": case.name, "sequences": shape.sequences, **found}


def row(bench: Bench, case: Case) -> Row:
    """Return what is found of one case; no share of a ceiling that nobody measured, nor of a copy for arithmetic."""
    ours, theirs = outputs(case.ours()), outputs(case.torchs())
    difference = max(float((a.float() - b.float()).abs().max()) for a, b in zip(ours, theirs, strict=True))
    times = {"ours_ms": milliseconds(bench, case.ours), "eager_ms": milliseconds(bench, case.torchs)}
    reached, ceiling = rate(case.amount, case.unit, times["ours_ms"]), bench.largest.get(case.unit)
    found = {**times, "rate": reached, "unit": case.unit, "ceiling_share": reached / ceiling if ceiling else None}
    if case.unit == "GB/s":
        source = torch.empty(int(case.amount / 2), device=bench.device, dtype=torch.uint8)  # read once, written once
        target = torch.empty_like(source)
        found["copy_share"] = milliseconds(bench, lambda: target.copy_(source)) / times["ours_ms"]
    return {**found, "difference": difference}


def milliseconds(bench: Bench, work: Callable[[], object]) -> float:
    runs = 50 if bench.device.type == "cuda" else 1
    return measure(captured(work, bench.device), bench.device, runs=runs, is_cold=True).median
