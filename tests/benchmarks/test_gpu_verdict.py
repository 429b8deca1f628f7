"""Goals: reached, missed or not measured, from rows alone."""

from __future__ import annotations

import pytest

from benchmarks.gpu.sections import Outcome, Row
from benchmarks.gpu.verdict import COMPILED, EAGER, GOALS, OURS, verdicts


def outcomes(**rows: list[Row]) -> dict[str, Outcome]:
    return {name: Outcome(name, "done", 1.0, found) for name, found in rows.items()}


def step(sequences: int, share: float | None, resolution: int = 256, is_invariant: bool = True) -> Row:
    return {"resolution": resolution, "batch_invariant": is_invariant, "sequences": sequences, "share": share}


def speed(contender: str, fifty: float, twenty: float, resolution: int = 256) -> list[Row]:
    same = {"contender": contender, "resolution": resolution, "unit": "images/s"}
    return [{**same, "what": f"16 at once, {n} steps", "value": v} for n, v in ((50, fifty), (20, twenty))]


def verdict(goal: str, found: dict[str, Outcome], device: str = "cuda") -> tuple[object, object]:
    row = next(row for row in verdicts(found, device) if row["goal"].startswith(goal))
    return row["verdict"], row["found"]


def test_without_rows_no_goal_is_measured() -> None:
    assert {row["verdict"] for row in verdicts({}, "cuda")} == {"not measured"}
    assert {row["found"] for row in verdicts({}, "cuda")} == {None}
    assert len(verdicts({}, "cuda")) == len(GOALS)


def test_what_a_processor_finds_is_not_measured() -> None:
    found = outcomes(steps=[step(n, 0.9) for n in (16, 32, 64)])
    assert verdict("share of the matrix ceiling, 256", found) == ("reached", 0.9)
    assert verdict("share of the matrix ceiling, 256", found, "cpu") == ("not measured", None)


@pytest.mark.parametrize(("least", "expected"), [(0.72, "reached"), (0.719, "missed")])
def test_the_least_share_from_sixteen_sequences_counts(least: float, expected: str) -> None:
    rows = [step(8, 0.3), step(16, least), step(32, 0.75), step(64, 0.8)]
    assert verdict("share of the matrix ceiling, 256", outcomes(steps=rows)) == (expected, least)


def test_a_sweep_that_was_cut_is_not_measured() -> None:
    rows = [step(16, 0.8), step(32, 0.8)]
    assert verdict("share of the matrix ceiling, 256", outcomes(steps=rows)) == ("not measured", None)


def test_a_share_without_a_ceiling_is_not_measured() -> None:
    rows = [step(n, None) for n in (16, 32, 64)]
    assert verdict("share of the matrix ceiling, 256", outcomes(steps=rows)) == ("not measured", None)


def test_resolutions_and_invariance_are_told_apart() -> None:
    rows = [step(n, 0.5) for n in (16, 32, 64)] + [step(n, 0.71, 512) for n in (16, 32, 64)]
    rows += [step(n, 0.9, 256, False) for n in (16, 32, 64)]
    found = outcomes(steps=rows)
    assert verdict("share of the matrix ceiling, 256", found) == ("missed", 0.5)
    assert verdict("share of the matrix ceiling, 512", found) == ("reached", 0.71)
    assert verdict("the same, 256", found) == ("reached", 0.9)
    assert verdict("the same, 512", found) == ("not measured", None)


def test_the_least_ratio_to_the_fastest_compiled_peer_counts() -> None:
    first, second = COMPILED
    found = outcomes(
        ours=speed(OURS, 24.0, 60.0), compiled=speed(first, 20.0, 40.0), graphs=speed(second, 15.0, 50.0)
    )
    assert verdict("images/s over diffusers compiled", found) == ("reached", 1.2)
    found["graphs"] = Outcome("", "done", 1.0, speed(second, 24.0, 50.0))
    assert verdict("images/s over diffusers compiled", found) == ("missed", 1.0)


def test_a_peer_without_a_figure_is_no_peer_and_without_any_nothing_is_measured() -> None:
    found = outcomes(ours=speed(OURS, 40.0, 80.0), eager=speed(EAGER, 20.0, 40.0), graphs=[])
    assert verdict("images/s over diffusers eager", found) == ("reached", 2.0)
    assert verdict("images/s over diffusers compiled", found) == ("not measured", None)
    found["eager"].rows.pop()
    assert verdict("images/s over diffusers eager", found) == ("not measured", None)


def test_speed_at_another_resolution_does_not_count() -> None:
    found = outcomes(ours=speed(OURS, 40.0, 80.0, 512), eager=speed(EAGER, 20.0, 40.0, 512))
    assert verdict("images/s over diffusers eager", found) == ("not measured", None)


@pytest.mark.parametrize(("ms", "expected"), [(60.0, "reached"), (60.1, "missed")])
def test_the_wait_for_one_image_has_an_upper_bound(ms: float, expected: str) -> None:
    row = {"contender": OURS, "resolution": 256, "what": "one image, 50 steps", "value": ms, "unit": "ms"}
    assert verdict("one image", outcomes(ours=[row])) == (expected, ms)


def quality(model: str, ours: float, torchs: float) -> list[Row]:
    return [
        {"model": model, "arithmetic": "ours, bfloat16", "error": ours},
        {"model": model, "arithmetic": "torch's operators, bfloat16", "error": torchs},
    ]


def test_the_worst_model_decides_on_quality() -> None:
    rows = quality("a", 1.0, 1.0) + quality("b", 1.2, 1.0)
    assert verdict("error over that of torch", outcomes(quality=rows)) == ("missed", 1.2)
    assert verdict("error over that of torch", outcomes(quality=rows[:3])) == ("not measured", None)
    assert verdict("error over that of torch", outcomes(quality=rows[:2])) == ("not measured", None)


def test_one_wrong_op_or_image_misses_and_an_unfinished_section_proves_nothing() -> None:
    good, bad = {"is_within": True}, {"is_within": False}
    found = outcomes(ops=[good, good], invariance=[{"differing": 0}, {"differing": 2}])
    assert verdict("ops outside", found) == ("reached", 0.0)
    assert verdict("images that differ", found) == ("missed", 2.0)
    assert verdict("ops outside", outcomes(ops=[good, bad])) == ("missed", 1.0)
    found["ops"].status = "cut: its time was over after 35 s"
    assert verdict("ops outside", found) == ("not measured", None)
