"""What is measured, in which order, for how long. Knows no torch: the process that reads it starts the others.

The limits add up to less than ten minutes: a process alone takes 15 seconds until its model is ready. Limits are a
timetable: a section may also use what those before it left.
Sections that compare and time nothing run side by side on a card, in the seconds of the largest: they wait for
compilers and processors more than for the card, and leave the kernels compiled for those that are timed. Then what
decides most comes first.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
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
    is_comparison: bool = False  # whether it times nothing, so that others like it may run beside it


END, FP8 = "gpu.end_to_end.rows", "fp8"
SECTIONS = (
    Section("ceilings", "Ceilings of the day", "gpu.bench.ceilings", 12),
    Section("folders", "Random weights of DiT-XL/2's form, written", "gpu.bench.folders", 23),
    Section("ops", "Every op against float64", "gpu.ops.rows", 130, is_comparison=True),
    Section("invariance", "Images alone and in mixed batches", "gpu.steps.invariance", 130, is_comparison=True),
    Section("fp8-invariance", "In fp8: images alone and mixed", "gpu.steps.invariance", 130, FP8, True, True),
    Section("bytes", "By HTTP: same bytes, with a worker killed", "gpu.same_bytes.rows", 130, is_comparison=True),
    Section("pictures", "Pictures of the card and of the processor", "gpu.same_bytes.pictures", 130, "", True, True),
    Section("quality", "bfloat16 against float32 over 50 steps", "bench_quality.rows", 130, is_comparison=True),
    Section("steps", "One denoising step of DiT-XL/2", "gpu.steps.rows", 40),
    Section("ours", "End to end: ours", END, 45, "ours"),
    Section("eager", "End to end: diffusers, eager", END, 40, "diffusers, eager"),
    Section("compiled", "End to end: diffusers, compiled", END, 55, "diffusers, compiled"),
    Section("served", "By HTTP", "gpu.served.rows", 40),
    Section("fp8-steps", "In fp8: one denoising step", "gpu.steps.rows", 22, FP8, True),
    Section("fp8", "In fp8: end to end", END, 25, "ours, fp8", True),
    Section("profile", "Where the time goes", "gpu.profile.rows", 30, needs_card=True),
    Section("kernels", "Each kernel between the products against torch's operators", "gpu.kernels.rows", 12),
    Section("linear", "Each way of the linear layers", "gpu.linear.rows", 18),
    Section("fp8-served", "In fp8: by HTTP", "gpu.served.rows", 35, FP8, True),
    Section("fp8-profile", "In fp8: where the time goes", "gpu.profile.rows", 15, FP8, True),
    Section("graphs", "End to end: diffusers, compiled, in CUDA graphs", END, 30, "diffusers, compiled, in graphs"),
    Section("free", "End to end: ours, not batch-invariant", END, 13, "ours, free shapes"),
)


def turns(sections: Iterable[Section], device: str) -> list[list[Section]]:
    """Return the sections turn by turn: comparisons in a row have one together, on a card."""
    found: list[list[Section]] = []
    for section in sections:
        if device == "cuda" and section.is_comparison and found and found[-1][-1].is_comparison:
            found[-1].append(section)
        else:
            found.append([section])
    return found


@dataclass(slots=True)
class Outcome:
    """What became of a section."""

    title: str
    status: str  # "done", or why its rows are not all there
    seconds: float
    rows: list[Row]  # found until its end


def told(failure: Exception) -> str:
    """Return the first line of what a failure says; the log gets all of it."""
    traceback.print_exception(failure)
    return traceback.format_exception_only(failure)[0].splitlines()[0]
