"""A soak of so many minutes and its report; see `benchmarks.soak`. The status is 1 if what must hold does not.

    python -m benchmarks.soak --minutes 30 --clients 5 --out benchmarks/results/soak-DATE.md
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks.report import write_result
from benchmarks.soak.run import Options, soak


def main() -> int:
    """The exit status."""
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="of mixed company; the rest takes one")
    parser.add_argument("--clients", type=int, default=usual.clients)
    parser.add_argument("--seed", type=int, default=usual.seed, help="of what is asked")
    parser.add_argument("--out", type=Path, help="the report; by default benchmarks/results/soak-DATE.md")
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(soak(Options(asked.minutes, asked.clients, asked.seed)))
    goals = found.finding.goals
    summary = f"{sum(goal.is_met for goal in goals)} of {len(goals)} promises reached.\n\n"
    print(write_result("soak", "Soak", summary + found.text(), asked.out))
    return 0 if all(goal.is_met for goal in goals if goal.is_exact) else 1


if __name__ == "__main__":
    sys.exit(main())
