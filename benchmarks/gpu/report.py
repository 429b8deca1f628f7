"""The report: one JSON file for programs, one markdown file for people. Knows no torch and nothing of any section."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.sections import Outcome, Row, columns
from benchmarks.gpu.verdict import verdicts


def write(folder: Path, name: str, machine: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write NAME.json and NAME.md with all that is known so far.

    Args:
        folder: made if it is not there.
        name: of both files.
        machine: what the figures belong to; "device" decides whether they count.
        outcomes: of the sections that have run, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    goals = verdicts(outcomes, machine["device"])
    document = {
        "machine": machine,
        "goals": goals,
        "sections": {key: asdict(outcome) for key, outcome in outcomes.items()},
    }
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(machine, outcomes, goals), encoding="utf-8")


def markdown(machine: Mapping[str, Any], outcomes: Mapping[str, Outcome], goals: list[Row]) -> str:
    """Return the report for people."""
    is_dry = machine["device"] != "cuda"
    heading = "A dry run on a processor: no figure here says anything" if is_dry else f"Measured on {machine['card']}"
    lines = [f"# {heading}", "", ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["## Goals", "", "Set for an H200, as ratios within one run.", "", *table(goals), ""]
    for outcome in outcomes.values():
        lines += [f"## {outcome.title}", "", f"{outcome.status}, {outcome.seconds:.0f} s", ""]
        lines += [*table(outcome.rows), ""] if outcome.rows else []
    return "\n".join(lines)


def table(rows: list[Row]) -> list[str]:
    """Return rows as a markdown table."""
    names = columns(rows)
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(shown(name, row.get(name)) for name in names) + " |" for row in rows]


def shown(name: str, value: object) -> str:
    """Return a value for people: shares in percent, numbers with three digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and name.endswith("share"):
        return f"{value:.0%}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
