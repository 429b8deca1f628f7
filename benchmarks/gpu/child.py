"""One section in a process of its own: its rows go, one line of JSON each, to a file that survives whatever happens.

    python -m benchmarks.gpu.child SECTION --device cuda --work FOLDER --rows FILE --began SECONDS

A section's module is imported by its name in the table of sections; its `rows(bench, argument)` yields the rows.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import SECTIONS, Row


def machine(device: torch.device) -> dict[str, Any]:
    """Return what torch knows of the device."""
    known: dict[str, Any] = {"cuda": torch.version.cuda, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        known |= {
            "card": found.name,
            "multiprocessors": found.multi_processor_count,
            "memory_gib": round(found.total_memory / 2**30, 1),
            "capability": f"{found.major}.{found.minor}",
        }
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=[section.name for section in SECTIONS])
    parser.add_argument("--device", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--began", type=float, required=True)
    options = parser.parse_args()
    section = next(section for section in SECTIONS if section.name == options.section)
    bench = Bench(torch.device(options.device), options.work, options.began)
    torch.set_grad_enabled(False)
    with options.rows.open("w", encoding="utf-8", buffering=1) as out:
        out.write(json.dumps({"machine": machine(bench.device)}) + "\n")
        rows: Iterator[Row] = importlib.import_module(f"benchmarks.gpu.{section.module}").rows(bench, section.argument)
        for row in rows:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
