"""One section in a process of its own: its rows go, one line of JSON each, to a file that survives whatever happens.

    python -m benchmarks.gpu.child SECTION DEVICE FOLDER ROWS BEGAN

The folder is what all sections share, ROWS the file, BEGAN the seconds since the epoch when the process was started.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import SECTIONS


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
    name, device, folder, rows, began = sys.argv[1:]
    section = next(section for section in SECTIONS if section.name == name)
    bench = Bench(torch.device(device), Path(folder), float(began))
    torch.set_grad_enabled(False)
    with Path(rows).open("w", encoding="utf-8", buffering=1) as out:
        out.write(json.dumps({"machine": machine(bench.device)}) + "\n")
        module, _, function = section.work.rpartition(".")
        for row in getattr(importlib.import_module(f"benchmarks.{module}"), function)(bench, section.argument):
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
