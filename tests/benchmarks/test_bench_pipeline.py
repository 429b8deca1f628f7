"""The comparison with diffusers' pipeline: both make the same pictures, and the verdict follows the least ratio."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.bench_pipeline import XL_NAME, Case, Outcome, goals, measure, report
from benchmarks.random_models import Sizes, write_folder

TINY = Sizes(layers=1, heads=2, head_size=16, vae_channels=(8, 8), vae_layers=1, vae_groups=4)


def outcome(name: str, batch: int, ratio: float) -> Outcome:
    return Outcome(Case(name, Path(), "bfloat16", batch, 20), 0.5, 0.4, 0.5 * ratio, None)


def test_both_make_the_same_pictures_and_are_timed(tmp_path: Path) -> None:
    write_folder(tmp_path / "tiny", TINY, 8, 0, torch.device("cpu"))
    found = measure(Case("tiny", tmp_path / "tiny", "float32", 2, 2), runs=1)
    assert found.difference is not None
    assert found.difference <= 1  # of 255: rounding
    assert min(found.ours, found.free, found.diffusers) > 0


def test_in_bfloat16_pictures_are_not_compared(tmp_path: Path) -> None:
    write_folder(tmp_path / "tiny", TINY, 8, 0, torch.device("cpu"))
    assert measure(Case("tiny", tmp_path / "tiny", "bfloat16", 1, 1), runs=1).difference is None


@pytest.mark.parametrize(("ratios", "is_met"), [((2.0, 2.5), True), ((1.99, 3.0), False)])
def test_a_goal_is_reached_only_if_the_least_ratio_is(ratios: tuple[float, float], is_met: bool) -> None:
    (goal,) = goals([outcome("digits-64", 1, ratio) for ratio in ratios])
    assert goal.is_met is is_met
    assert goal.found == f"{min(ratios):.2f} to {max(ratios):.2f} x"


def test_each_kind_of_comparison_has_a_goal_of_its_own() -> None:
    found = goals([outcome("digits-64", 1, 3.0), outcome("digits-128", 8, 1.5), outcome(XL_NAME, 1, 1.0)])
    assert [goal.is_met for goal in found] == [True, False, True]
    assert goals([outcome("someone's model", 1, 3.0)]) == []


def test_the_report_says_what_was_measured_and_with_how_many_runs() -> None:
    text = report([outcome("digits-64", 8, 2.0)], runs=7)
    assert "the fastest of 7 alternating runs" in text
    assert "| digits-64 | bfloat16 | 8 | 20 | 16 | 20 | 8 | 2.00 | +25% |  |" in text
