"""Chaos: what the service promises, while everything goes wrong on purpose.

    make chaos            # or: python -m benchmarks.chaos --only R4 --crashes 10 --model fake

R1 overload, R2 clients that leave, R3 SIGTERM, R4 a killed, crashed or stopped worker, R5 poisoned jobs, R8 slow
clients, R17 a host that fails, and R9, the exact account of every request, after each. Writes
benchmarks/results/chaos-DATE.md. Half an hour on the demo model; the tests run the short form with a fake model
(tests/test_chaos.py). R7, a million hostile requests, is a test of its own: HOSTILE_TIMES=21 makes
tests/service/http/test_hostile.py that long. The status is 1 if an exact promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Any

import uvloop

from benchmarks.faults.crash import crash
from benchmarks.faults.drain import drain
from benchmarks.faults.host import host
from benchmarks.faults.leaving import leaving
from benchmarks.faults.options import Options, short
from benchmarks.faults.overload import overload
from benchmarks.faults.poison import poison
from benchmarks.faults.slow import slow
from benchmarks.report import Finding, findings_text, write_result

Measurement = Callable[[Options], Coroutine[Any, Any, Finding]]
MEASUREMENTS: dict[str, Measurement] = {
    "R1": overload, "R2": leaving, "R3": drain, "R4": crash, "R5": poison, "R8": slow, "R17": host
}


def run(measurement: Measurement, options: Options) -> Finding:
    """One measurement in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement(options))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the form for continuous integration, with a fake model")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="may be given several times")
    parser.add_argument("--name", default="chaos", help="of the file of results")
    for field in fields(Options):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    asked = parser.parse_args()
    options = short() if asked.short else Options(**{each.name: getattr(asked, each.name) for each in fields(Options)})
    findings = []
    for name in asked.only or MEASUREMENTS:
        began = time.monotonic()
        findings.append(run(MEASUREMENTS[name], options))
        print(f"{name}: {time.monotonic() - began:.0f} s\n{findings_text(findings[-1:])}", file=sys.stderr, flush=True)
    goals = [goal for finding in findings for goal in finding.goals]
    summary = f"{sum(goal.is_met for goal in goals)} of {len(goals)} promises reached.\n\n"
    print(write_result(asked.name, "Chaos", summary + findings_text(findings)))
    return 0 if all(goal.is_met for goal in goals if goal.is_exact) else 1


if __name__ == "__main__":
    sys.exit(main())
