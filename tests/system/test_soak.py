"""A minute of the soak: every sum comes out, no image is another, and no process ends. Times are told elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.soak.run import Options, soak

pytestmark = pytest.mark.system


def test_what_must_hold_holds_after_a_minute_of_mixed_company() -> None:
    found = asyncio.run(soak(Options(minutes=1.0)))
    broken = [f"{goal.promise}: {goal.found}" for goal in found.finding.goals if goal.is_exact and not goal.is_met]
    assert not broken
    assert found.seen.images > 100  # not alone those that were made before
