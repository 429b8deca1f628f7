"""The report: one JSON file for programs, one markdown file for people. Knows no torch and nothing of any section."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.gpu.sections import Outcome, Row
from benchmarks.gpu.verdict import verdicts


def write(folder: Path, name: str, machine: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write NAME.json and NAME.md with all that is known so far of the sections; "device" decides whether it counts."""
    folder.mkdir(parents=True, exist_ok=True)
    goals = verdicts(outcomes, machine["device"])
    sections = {key: asdict(outcome) for key, outcome in outcomes.items()}
    text = json.dumps({"machine": machine, "goals": goals, "sections": sections}, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(machine, outcomes, goals), encoding="utf-8")


def markdown(machine: Mapping[str, Any], outcomes: Mapping[str, Outcome], goals: list[Row]) -> str:
    """Return the report for people."""
    is_dry = machine["device"] != "cuda"
    heading = "A dry run on a processor: no figure here says anything" if is_dry else f"Measured on {machine['card']}"
    lines = [f"# {heading}", "", ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["## Goals", "", "Set for an H200, as ratios within one run.", "", table(goals)]
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
