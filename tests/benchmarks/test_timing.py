"""The arithmetic around a clock; no test looks at a duration."""

from __future__ import annotations

import torch

from benchmarks.timing import captured, ceilings, measure, rate

CPU = torch.device("cpu")


def test_a_rate_is_the_amount_over_the_time_in_its_unit() -> None:
    assert rate(2e12, "TFLOP/s", 1000.0) == 2.0
    assert rate(3e9, "GB/s", 500.0) == 6.0


def test_two_runs_are_not_counted() -> None:
    calls = []
    spread = measure(lambda: calls.append(None), CPU, runs=5)
    assert len(calls) == 7
    assert 0 < spread.least <= spread.median


def test_work_on_a_processor_is_captured_as_itself() -> None:
    calls = []
    work = captured(lambda: calls.append(None), CPU)
    assert calls == []
    work()
    assert calls == [None]


def test_there_is_a_ceiling_of_either_unit() -> None:
    assert set(ceilings(torch.float32, CPU, side=8, size=64, runs=1)) == {"TFLOP/s", "GB/s"}
