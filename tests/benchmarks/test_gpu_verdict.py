"""Goals: reached, missed or not measured, from rows alone."""

from __future__ import annotations

import pytest

from benchmarks.gpu.end_to_end import CONTENDERS as MEASURED
from benchmarks.gpu.sections import SECTIONS, Outcome, Row
from benchmarks.gpu.verdict import (
    BOUND_BY_MEMORY,
    COMPILED,
    CONTENDERS,
    EAGER,
    GOALS,
    OURS,
    OURS_FP8,
    SERVED,
    verdicts,
)


def outcomes(**rows: list[Row]) -> dict[str, Outcome]:
    return {name.replace("_", "-"): Outcome(name, "done", 1.0, found) for name, found in rows.items()}


def step(sequences: int, share: float | None, resolution: int = 256) -> Row:
    return {"resolution": resolution, "sequences": sequences, "share": share}


def speed(contender: str, twenty: float, fifty: float, resolution: int = 256) -> list[Row]:
    same = {"contender": contender, "resolution": resolution, "unit": "images/s"}
    return [{**same, "what": f"16 at once, {n} steps", "value": v} for n, v in ((20, twenty), (50, fifty))]


def wait(contender: str, ms: float, resolution: int = 256) -> Row:
    what = {"resolution": resolution, "what": "one image, 50 steps"}
    return {"contender": contender, **what, "value": ms, "unit": "ms"}


def goal(name: str, found: dict[str, Outcome], device: str = "cuda") -> Row:
    return next(row for row in verdicts(found, device) if row["goal"].startswith(name))


def verdict(name: str, found: dict[str, Outcome], device: str = "cuda") -> tuple[object, object]:
    row = goal(name, found, device)
    return row["verdict"], row["found"]


def test_without_rows_no_goal_is_measured() -> None:
    assert {row["verdict"] for row in verdicts({}, "cuda")} == {"not measured"}
    assert {row["found"] for row in verdicts({}, "cuda")} == {None}
    assert len(verdicts({}, "cuda")) == len(GOALS) == len({goal.name for goal in GOALS})


def test_what_a_processor_finds_is_not_measured() -> None:
    found = outcomes(steps=[step(64, 0.9)])
    assert verdict("share of the matrix ceiling, 256 px, 64", found) == ("reached, the stretch too", 0.9)
    assert verdict("share of the matrix ceiling, 256 px, 64", found, "cpu") == ("not measured", None)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.55, "reached"), (0.549, "missed"), (0.649, "reached"), (0.65, "reached, the stretch too")],
)
def test_a_share_is_held_to_its_bound_and_to_its_stretch(share: float, expected: str) -> None:
    found = outcomes(steps=[step(64, 0.3), step(16, share), step(16, 0.1, 512)])
    row = goal("share of the matrix ceiling, 256 px, 16", found)
    assert (row["verdict"], row["found"]) == (expected, share)
    assert (row["bound"], row["stretch"]) == ("at least 0.55", 0.65)


def test_resolutions_sequences_and_precisions_are_told_apart() -> None:
    found = outcomes(steps=[step(64, 0.6), step(16, 0.5), step(16, 0.58, 512)], fp8_steps=[step(64, 0.74)])
    assert verdict("share of the matrix ceiling, 256 px, 64", found) == ("reached", 0.6)
    assert verdict("share of the matrix ceiling, 256 px, 16", found) == ("missed", 0.5)
    assert verdict("share of the matrix ceiling, 512 px, 16", found) == ("reached", 0.58)
    assert verdict("fp8, share", found) == ("missed", 0.74)


def test_a_share_without_a_row_or_a_ceiling_is_not_measured() -> None:
    for rows in ([step(64, 0.8)], [step(16, None)]):
        assert verdict("share of the matrix ceiling, 256 px, 16", outcomes(steps=rows)) == ("not measured", None)


def test_the_least_ratio_to_the_fastest_compiled_peer_counts() -> None:
    first, second = COMPILED
    found = outcomes(
        ours=speed(OURS, 60.0, 24.0), fp8=speed(OURS_FP8, 75.0, 28.0), compiled=speed(first, 40.0, 20.0),
        graphs=speed(second, 50.0, 15.0),
    )
    assert verdict("images/s over diffusers compiled", found) == ("reached", 1.2)
    assert verdict("fp8, images/s over diffusers compiled", found) == ("reached", 1.4)
    found["graphs"].rows = speed(second, 50.0, 24.0)
    assert verdict("images/s over diffusers compiled", found) == ("missed", 1.0)
    assert verdict("fp8, images/s over diffusers compiled", found) == ("missed", 28 / 24)


def test_a_peer_without_a_figure_is_no_peer_and_without_any_nothing_is_measured() -> None:
    found = outcomes(ours=speed(OURS, 80.0, 40.0), eager=speed(EAGER, 40.0, 20.0), graphs=[])
    assert verdict("images/s over diffusers eager", found) == ("reached", 2.0)
    assert verdict("images/s over diffusers compiled", found) == ("not measured", None)
    found["eager"].rows.pop()
    assert verdict("images/s over diffusers eager", found) == ("not measured", None)


def test_speed_at_another_resolution_does_not_count() -> None:
    found = outcomes(ours=speed(OURS, 80.0, 40.0, 512), eager=speed(EAGER, 40.0, 20.0, 512))
    assert verdict("images/s over diffusers eager", found) == ("not measured", None)


def test_every_contender_of_a_verdict_is_measured_in_a_section_that_it_reads() -> None:
    of_sections = {section.argument for section in SECTIONS if section.name in CONTENDERS}
    assert {OURS, OURS_FP8, EAGER, *COMPILED} <= of_sections & set(MEASURED)


def test_serving_is_held_to_the_bare_pipeline_of_the_same_run() -> None:
    found = outcomes(ours=speed(OURS, 50.0, 20.0), served=speed(SERVED, 49.0, 19.0))
    assert verdict("images/s by HTTP", found) == ("missed", 0.95)
    found["served"].rows = speed(SERVED, 49.0, 20.5)
    assert verdict("images/s by HTTP", found) == ("reached", 0.98)
    found["served"].rows.pop()
    assert verdict("images/s by HTTP", found) == ("not measured", None)


@pytest.mark.parametrize(
    ("ms", "expected", "in_fp8"),
    [(50.0, "reached, the stretch too", "reached"), (65.0, "reached, the stretch too", "missed"),
     (80.0, "reached", "missed"), (80.1, "missed", "missed")],
)
def test_the_wait_for_one_image_is_that_by_http(ms: float, expected: str, in_fp8: str) -> None:
    found = outcomes(ours=[wait(OURS, 1.0)], served=[wait(SERVED, ms), wait(SERVED, 1.0, 512)])
    assert verdict("one image", found) == (expected, ms)
    assert verdict("fp8, one image", found) == ("not measured", None)
    assert verdict("fp8, one image", outcomes(fp8_served=[wait("served, fp8", ms)])) == (in_fp8, ms)


def kernel(name: str, sequences: int, share: float | None, unit: str = "GB/s", megabytes: float = 4.6) -> Row:
    what = {"kernel": f"{name} 1 x 2 x 3", "sequences": sequences, "unit": unit}
    return {**what, "rate": megabytes / 0.5, "ours_ms": 0.5, "copy_share": share}


def test_the_slowest_memory_bound_kernel_decides_at_the_large_shapes() -> None:
    rows = [kernel(name, sequences, 0.9) for name in BOUND_BY_MEMORY for sequences in (64, 16)]
    rows += [kernel("attention", 64, None, "TFLOP/s"), kernel("sampler_step", 2, 0.2)]
    rows += [kernel("groupnorm_silu", 64, 0.3, megabytes=2.1)]
    rows += [kernel("add_bias residual", 64, 0.4), kernel("gelu_float8", 64, 0.5)]
    assert verdict("memory-bound", outcomes(kernels=rows)) == ("reached", 0.9)
    assert verdict("memory-bound", outcomes(kernels=[*rows, kernel("groupnorm_silu", 16, 0.8)])) == ("missed", 0.8)
    assert verdict("memory-bound", outcomes(kernels=rows[1:])) == ("not measured", None)


def test_an_image_of_the_service_that_differs_or_is_lost_misses_and_without_a_kill_nothing_is_measured() -> None:
    name = "images through the service that differ"
    good, bad = {"differing": 0, "lost": 0}, {"differing": 1, "lost": 2}
    killed = {"is_replaced": True, "made_again": 3}
    assert verdict(name, outcomes(bytes=[good, good, killed])) == ("reached", 0.0)
    assert verdict(name, outcomes(bytes=[good, bad, killed])) == ("missed", 3.0)
    for other in ({**killed, "is_replaced": False}, {**killed, "made_again": 0}):
        assert verdict(name, outcomes(bytes=[good, other])) == ("not measured", None)
    assert verdict(name, outcomes(bytes=[good])) == ("not measured", None)
    cut = outcomes(bytes=[good, killed])
    cut["bytes"].status = "cut: its time was over after 60 s"
    assert verdict(name, cut) == ("not measured", None)


def quality(model: str, ours: float, torchs: float) -> list[Row]:
    return [
        {"model": model, "arithmetic": "ours, bfloat16", "error": ours},
        {"model": model, "arithmetic": "torch's operators, bfloat16", "error": torchs},
        {"model": model, "arithmetic": "ours, fp8", "error": 9.0},
    ]


def test_the_worst_model_decides_on_quality() -> None:
    rows = quality("a", 1.0, 1.0) + quality("b", 1.2, 1.0)
    assert verdict("error over that of torch", outcomes(quality=rows)) == ("missed", 1.2)
    assert verdict("error over that of torch", outcomes(quality=rows[:4])) == ("not measured", None)
    assert verdict("error over that of torch", outcomes(quality=rows[:3])) == ("not measured", None)


def test_one_wrong_op_or_image_misses_and_an_unfinished_section_proves_nothing() -> None:
    good, bad, failed = {"is_within": True}, {"is_within": False}, {"is_within": False, "failed": "RuntimeError"}
    found = outcomes(ops=[good, good], invariance=[{"differing": 0}, {"differing": 2}])
    assert verdict("ops outside", found) == ("reached", 0.0)
    assert verdict("images that differ", found) == ("missed", 2.0)
    assert verdict("ops outside", outcomes(ops=[good, bad, failed])) == ("missed", 2.0)
    found["ops"].status = "cut: its time was over after 35 s"
    assert verdict("ops outside", found) == ("not measured", None)
