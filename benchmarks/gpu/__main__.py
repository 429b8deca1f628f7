"""Run all sections, each a process of its own, within their timetable; write the report after each.

    benchmarks/gpu.sh                           # on a card, within ten minutes
    benchmarks/gpu.sh --only steps,ours         # some of the sections
    benchmarks/gpu.sh --device cpu --out FOLDER # a dry run with tiny shapes: all of the code, no figure that counts

The report goes to --out, else to the folder that $OUT names, else to benchmarks/results: NAME.md, NAME.json, and what
the sections printed as NAME.log, tracebacks whole.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import faulthandler
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import report
from benchmarks.gpu.processes import HERE, ROOT, end_of, end_with_parent, side_by_side
from benchmarks.gpu.sections import SECTIONS, Outcome, Row, Section, told, turns
from benchmarks.gpu.verdict import verdicts

if TYPE_CHECKING:
    import torch

NEEDED = ("ceilings", "folders")  # by other sections
DRY_PATIENCE = 5  # times as long a limit on a processor, which may be busy with other work and promises no time
VERSIONS = ("torch", "triton", "diffusers", "safetensors", "numpy")


def said(*command: str) -> str | None:
    """Return what a command prints; None if it is not there or fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip() or None
    return None


def version(package: str) -> str | None:
    """Return the version of the package that an import finds; None if it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def machine(device: str) -> dict[str, Any]:
    """Return what the figures belong to, as far as it can be told without torch."""
    driver = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if device == "cuda" else None
    return {
        "device": device,
        "date": datetime.date.today().isoformat(),
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "driver": driver and driver.splitlines()[0],
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


def card(device: torch.device) -> dict[str, Any]:
    """Return what torch knows of the device."""
    import torch

    known: dict[str, Any] = {"cuda": torch.version.cuda, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        known |= {"card": found.name, "multiprocessors": found.multi_processor_count}
        known |= {"memory_gib": round(found.total_memory / 2**30, 1), "capability": f"{found.major}.{found.minor}"}
    return known


def section_here(name: str, device: str, folder: str, rows: str, began: str) -> None:
    """Run one section in this process: its rows go, a line of JSON each, to a file that survives whatever happens."""
    end_with_parent()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    import torch

    from benchmarks.gpu.bench import Bench

    section = next(section for section in SECTIONS if section.name == name)
    bench = Bench(torch.device(device), Path(folder), float(began))
    torch.set_grad_enabled(False)
    with Path(rows).open("w", encoding="utf-8", buffering=1) as out:
        out.write(json.dumps({"machine": card(bench.device)}) + "\n")
        module, _, function = section.work.rpartition(".")
        try:
            for row in getattr(importlib.import_module(f"benchmarks.{module}"), function)(bench, section.argument):
                out.write(json.dumps(row) + "\n")
        except Exception as failure:
            sys.exit(told(failure))  # the log's last line is what the report says


def wanted(only: str) -> Sequence[Section]:
    """Return the sections of a list of names, with those that they need; all where it is empty; else ValueError."""
    names = {name for name in only.split(",") if name}
    if unknown := names - {section.name for section in SECTIONS}:
        raise ValueError(f"no such section: {', '.join(sorted(unknown))}")
    return [section for section in SECTIONS if not names or section.name in names | set(NEEDED)]


def write_report(folder: Path, name: str, machine: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write NAME.json and NAME.md with all that is known so far of the sections; "device" decides whether it counts."""
    folder.mkdir(parents=True, exist_ok=True)
    goals = verdicts(outcomes, machine["device"])
    sections = {key: asdict(outcome) for key, outcome in outcomes.items()}
    text = json.dumps({"machine": machine, "goals": goals, "sections": sections}, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(machine, outcomes, goals), encoding="utf-8")


def markdown(machine: Mapping[str, Any], outcomes: Mapping[str, Outcome], goals: list[Row]) -> str:
    is_dry = machine["device"] != "cuda"
    measured = f"Measured on {machine.get('card', 'a card that no section could name')}"
    heading = "A dry run on a processor: no figure here says anything" if is_dry else measured
    lines = [f"# {heading}", "", ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["## Goals", "", "Set for an H100 and an H200, as ratios within one run.", "", table(goals)]
    for outcome in outcomes.values():
        lines += [f"## {outcome.title}", "", f"{outcome.status}, {outcome.seconds:.0f} s", ""]
        lines += [table(outcome.rows)] if outcome.rows else []
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """Return rows as a markdown table, a column for each name in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = [name.replace("_", " ") for name in names]
    return report.table(heads, [[shown(name, row.get(name)) for name in names] for row in rows])


def shown(name: str, value: object) -> str:
    """Return a value for people: shares in percent, numbers with four digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0%}" if name.endswith("share") else f"{value:.4g}"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    out = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")
    parser.add_argument("--out", type=Path, default=out, help="folder of the report; default $OUT, if that is set")
    parser.add_argument("--only", default="", help=f"of {', '.join(section.name for section in SECTIONS)}")
    parser.add_argument("--patience", type=float, help="times as long a limit for each section; default 1 on a card")
    options = parser.parse_args()
    is_card = options.device == "cuda"
    patience = options.patience or (1 if is_card else DRY_PATIENCE)
    try:
        sections = wanted(options.only)
    except ValueError as error:
        parser.error(str(error))
    about, outcomes = machine(options.device), dict[str, Outcome]()
    name = f"gpu-{about['date']}" if is_card else "gpu-dry-run"
    options.out.mkdir(parents=True, exist_ok=True)
    due, logs = time.monotonic(), options.out / f"{name}.log"
    with (
        tempfile.TemporaryDirectory(prefix="dit-gpu-", ignore_cleanup_errors=True) as work,
        logs.open("w", encoding="utf-8") as log,
    ):
        for turn in turns(sections, options.device):
            due += max(section.seconds for section in turn) * patience
            for section, outcome, said_of in side_by_side(turn, options.device, Path(work), due - time.monotonic()):
                outcomes[section.name], about = outcome, about | said_of
                log.write(f"== {section.name}: {outcome.status}\n{end_of(Path(work) / f'{section.name}.log')}\n")
                log.flush()
                in_order = {each.name: outcomes[each.name] for each in sections if each.name in outcomes}
                write_report(options.out, name, about, in_order)
                print(f"{section.title}: {outcome.status}", flush=True)
    print(f"\n{(options.out / f'{name}.md').read_text(encoding='utf-8')}\n{options.out / name}.md, .json, .log")


if __name__ == "__main__":
    section_here(*sys.argv[2:]) if sys.argv[1:2] == [HERE] else main()
