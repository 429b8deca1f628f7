"""What a measurement says: goals with what was found, tables in markdown, and the machine that it was made on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise and what was found."""

    promise: str  # in words, with its bound
    found: str  # the figure
    is_met: bool  # whether it holds
    is_exact: bool = True  # whether it must hold on any machine; the others are times, which a busy machine may miss


@dataclass(frozen=True, slots=True)
class Finding:
    """One measurement: its name, how it was made, its goals."""

    name: str
    setting: str
    goals: Sequence[Goal]


def machine() -> str:
    """The machine and the builds, in one line."""
    memory = float(_named("/proc/meminfo", "MemTotal").partition(" ")[0] or 0)  # KiB
    return (
        f"{_named('/proc/cpuinfo', 'model name') or platform.processor()} ({platform.machine()}), "
        f"{len(os.sched_getaffinity(0))} cores, {memory / 2**20:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def findings_text(findings: Sequence[Finding]) -> str:
    return "\n".join(f"## {each.name}\n\n{each.setting}\n\n{goals_table(each.goals)}" for each in findings)


def goals_table(goals: Sequence[Goal]) -> str:
    rows = [(goal.promise, goal.found, "reached" if goal.is_met else "**missed**") for goal in goals]
    return table(("promised", "found", ""), rows)


def write_result(name: str, title: str, text: str, path: Path | None = None) -> Path:
    """Writes benchmarks/results/NAME-DATE.md, or where it is told to, and returns where."""
    now = datetime.now(UTC)
    path = path or RESULTS / f"{name}-{now:%Y-%m-%d}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"# {title}\n\n{now:%Y-%m-%d %H:%M} UTC. {machine()}.\n\n{text}")
    return path


def _named(path: str, name: str) -> str:
    """The value of a name in a file of "name: value" lines of /proc; "" where there is none."""
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
