"""What is measured, in which order, for how long. Knows no torch: the process that reads it starts the others.

The limits add up to less than nine minutes. Limits are a timetable: a section may also use what those before it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """One process's work.

    Attributes:
        name: in the report and on the command line.
        title: heading of its table.
        module: of this package, whose `rows` yields its rows.
        seconds: that the timetable gives it.
        argument: which of several the module is to do; "" where it does one thing.
        needs_card: whether there is nothing to run on a processor, not even dry.
    """

    name: str
    title: str
    module: str
    seconds: int
    argument: str = ""
    needs_card: bool = False


SECTIONS = (
    Section("ceilings", "Ceilings of the day", "ceilings", 20),
    Section("folders", "Random weights of DiT-XL/2's form, written", "folders", 30),
    Section("ops", "Every op against float64", "ops", 35),
    Section("invariance", "Images alone and in mixed batches", "invariance", 35),
    Section("steps", "One denoising step of DiT-XL/2", "steps", 60),
    Section("ours", "End to end: ours", "end_to_end", 35, "ours"),
    Section("eager", "End to end: diffusers, eager", "end_to_end", 40, "diffusers, eager"),
    Section("compiled", "End to end: diffusers, compiled", "end_to_end", 90, "diffusers, max-autotune-no-cudagraphs"),
    Section("quality", "bfloat16 against float32 over 50 steps", "quality", 35),
    Section("free", "End to end: ours, not batch-invariant", "end_to_end", 20, "ours, free shapes"),
    Section("fused", "End to end: diffusers, q, k, v fused", "end_to_end", 20, "diffusers, fused qkv"),
    Section("graphs", "End to end: diffusers, compiled with graphs", "end_to_end", 60, "diffusers, max-autotune", True),
    Section("kernels", "Each kernel against torch's operators", "kernel_rates", 45),
)


@dataclass(slots=True)
class Outcome:
    """What became of a section.

    Attributes:
        title: its heading.
        status: "done", or why its rows are not all there.
        seconds: that it took.
        rows: found until its end.
    """

    title: str
    status: str
    seconds: float
    rows: list[Row]


def columns(rows: list[Row]) -> list[str]:
    """Return the names of all columns, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))
