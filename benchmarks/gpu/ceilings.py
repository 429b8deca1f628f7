"""The two rates that bound all others on this card today: a large matrix product on random data, and a copy."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import ceilings, rate


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row a ceiling, and leave the best of each for the sections after this one."""
    scale = bench.scale
    amounts = {"TFLOP/s": 2.0 * scale.matrix_side**3, "GB/s": 2.0 * scale.copied_bytes}  # read and written
    names = {"TFLOP/s": f"matrix product, {scale.matrix_side} a side", "GB/s": f"copy of {scale.copied_bytes} bytes"}
    spreads = ceilings(bench.dtype, bench.device, scale.matrix_side, scale.copied_bytes, 4 * scale.runs)
    best = {unit: rate(amounts[unit], unit, spread.least) for unit, spread in spreads.items()}
    (bench.work / "ceilings.json").write_text(json.dumps(best), encoding="utf-8")
    for unit, spread in spreads.items():
        yield {
            "work": names[unit], "unit": unit, "best": best[unit], "median": rate(amounts[unit], unit, spread.median)
        }
