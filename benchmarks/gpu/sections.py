"""What is measured, in which order, for how long. Knows no torch: the process that reads it starts the others.

The limits add up to less than nine minutes. Limits are a timetable: a section may also use what those before it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """One process's work."""

    name: str  # in the report and on the command line
    title: str  # heading of its table
    work: str  # module and function of benchmarks that yields its rows
    seconds: int  # that the timetable gives it
    argument: str = ""  # which of several the function is to do; "" where it does one thing
    needs_card: bool = False  # whether there is nothing to run on a processor, not even dry


END = "gpu.end_to_end.rows"
SECTIONS = (
    Section("ceilings", "Ceilings of the day", "gpu.bench.ceilings", 20),
    Section("folders", "Random weights of DiT-XL/2's form, written", "gpu.bench.folders", 30),
    Section("ops", "Every op against float64", "gpu.ops.rows", 35),
    Section("invariance", "Images alone and in mixed batches", "gpu.steps.invariance", 35),
    Section("steps", "One denoising step of DiT-XL/2", "gpu.steps.rows", 60),
    Section("ours", "End to end: ours", END, 35, "ours"),
    Section("eager", "End to end: diffusers, eager", END, 40, "diffusers, eager"),
    Section("compiled", "End to end: diffusers, compiled", END, 90, "diffusers, max-autotune-no-cudagraphs"),
    Section("quality", "bfloat16 against float32 over 50 steps", "bench_quality.rows", 35),
    Section("free", "End to end: ours, not batch-invariant", END, 20, "ours, free shapes"),
    Section("fused", "End to end: diffusers, q, k, v fused", END, 20, "diffusers, fused qkv"),
    Section("graphs", "End to end: diffusers, compiled with graphs", END, 60, "diffusers, max-autotune", True),
    Section("kernels", "Each kernel against torch's operators", "gpu.steps.kernels", 45),
)


@dataclass(slots=True)
class Outcome:
    """What became of a section."""

    title: str
    status: str  # "done", or why its rows are not all there
    seconds: float
    rows: list[Row]  # found until its end
