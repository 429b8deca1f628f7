"""Each kernel's rate, beside torch's operators and what torch.compile makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.bench_kernels import ceiling_rates, results
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each kernel and shape."""
    for result in results(bench.dtype, bench.device, bench.ceilings() or ceiling_rates(bench.dtype, bench.device)):
        yield asdict(result)
