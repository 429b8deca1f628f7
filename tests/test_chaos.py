"""The short form of benchmarks/chaos.py: every exact promise holds. Times are a benchmark's affair alone."""

from __future__ import annotations

import pytest

from benchmarks.chaos import MEASUREMENTS, run
from benchmarks.faults.options import short


@pytest.mark.parametrize("name", sorted(MEASUREMENTS))
def test_exact_promises_hold(name: str) -> None:
    finding = run(MEASUREMENTS[name], short())
    broken = [f"{goal.promise}: {goal.found}" for goal in finding.goals if goal.is_exact and not goal.is_met]
    assert not broken
