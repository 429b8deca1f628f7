"""Each kernel between the products against torch's own operators and torch.compile's, on DiT-XL/2's shapes.

A row a kernel: medians of milliseconds with a cold L2, the rate that the shortest possible traffic or the arithmetic
amounts to, its share of the ceiling, its share of a copy of as many bytes (launched and timed the same way, so that
what a launch costs is in both), and the largest difference from torch's own result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.kernel_cases import TIMED, TINY, Case, fused_cases
from benchmarks.timing import captured, measure, rate


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each shape that is timed and kernel; the linear layers are `linear`'s."""
    for shape in TIMED if bench.device.type == "cuda" else TINY:
        for case in fused_cases(shape, bench.dtype, bench.device):
            yield {"kernel": case.name, "sequences": shape.sequences, **row(bench, case)}


def row(bench: Bench, case: Case) -> Row:
    """Return what is found of one case; no share of a ceiling that nobody measured, nor of a copy for arithmetic."""
    device, ceiling = bench.device, bench.largest.get(case.unit)
    torch._dynamo.reset()  # or the shapes before this one would make it compile for any shape, or not at all
    backend = "inductor" if device.type == "cuda" else "eager"
    compiled = torch.compile(case.reference, backend=backend, dynamic=False)
    ours, theirs = case.ours(), case.torchs()
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    difference = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)

    def milliseconds(work: Callable[[], object]) -> float:
        runs = 50 if device.type == "cuda" else 1
        return measure(captured(work, device), device, runs=runs, is_cold=True).median

    works = {"ours_ms": case.ours, "eager_ms": case.torchs, "compiled_ms": lambda: compiled(*case.arguments)}
    times = {name: milliseconds(work) for name, work in works.items()}
    reached = rate(case.amount, case.unit, times["ours_ms"])
    found = {**times, "rate": reached, "unit": case.unit, "ceiling_share": reached / ceiling if ceiling else None}
    if case.unit == "GB/s":
        source = torch.empty(int(case.amount / 2), device=device, dtype=torch.uint8)  # read once, written once
        target = torch.empty_like(source)
        found["copy_share"] = milliseconds(lambda: target.copy_(source)) / times["ours_ms"]
    return {**found, "difference": difference}
