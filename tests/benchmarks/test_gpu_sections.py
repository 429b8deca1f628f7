"""Every section's rows, dry: what they hold is asserted, what they measure is not."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from benchmarks import bench_quality, kernel_cases
from benchmarks.bench_kernels import result
from benchmarks.gpu import end_to_end, ops, steps
from benchmarks.gpu.bench import Bench, ceilings
from benchmarks.gpu.sections import SECTIONS
from benchmarks.kernel_cases import TINY, Case, cases
from dit_serve.kernels.float8 import quantise_reference
from dit_serve.kernels.launch import FLOAT8_CAPABILITY
from dit_serve.models.sampling.sampler import SAMPLERS


def test_the_ceilings_are_left_for_the_sections_after(bench: Bench) -> None:
    found = {row["unit"]: row["best"] for row in ceilings(bench, "")}
    assert set(found) == {"TFLOP/s", "GB/s"}
    assert bench.largest == found


def test_steps_are_measured_for_every_number_of_sequences_with_and_without_invariance(bench: Bench) -> None:
    rows = list(steps.rows(bench, ""))
    expected = {(r, i, s) for r in bench.resolutions for i in (True, False) for s in bench.scale.sequences}
    assert {(row["resolution"], row["batch_invariant"], row["sequences"]) for row in rows} == expected
    assert len(rows) == len(expected)


def test_a_steps_share_is_its_rate_over_the_ceiling(bench: Bench) -> None:
    list(ceilings(bench, ""))
    for row in steps.rows(bench, ""):
        assert row["share"] == pytest.approx(row["tflops"] / bench.largest["TFLOP/s"])


def test_a_steps_operations_are_the_published_ones() -> None:
    from dit_serve.models.dit import DiTConfig
    from dit_serve.models.registry import multiply_adds

    assert multiply_adds(DiTConfig()) * 2e-9 == pytest.approx(237.2, abs=0.1)


def test_images_of_every_sampler_are_compared_and_none_differs(bench: Bench) -> None:
    rows = list(steps.invariance(bench, ""))
    expected = {(resolution, sampler) for resolution in bench.resolutions for sampler in SAMPLERS}
    assert {(row["resolution"], row["sampler"]) for row in rows} == expected
    assert all(row["compared"] == steps.MIXES * bench.scale.images for row in rows)
    assert all(row["differing"] == 0 for row in rows)


def test_an_image_that_differs_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = steps.images_mixed

    def spoilt(*arguments: object) -> object:
        images = mixed(*arguments)  # type: ignore[arg-type]
        return {spec: image + 1 if spec.sampler == "ddpm" else image for spec, image in images.items()}

    monkeypatch.setattr(steps, "images_mixed", spoilt)
    found = {(row["resolution"], row["sampler"]): row["differing"] for row in steps.invariance(bench, "")}
    assert found[64, "ddpm"] == steps.MIXES * bench.scale.images
    assert found[64, "ddim"] == 0


def test_the_images_compared_differ_in_steps_and_guidance() -> None:
    specs = steps.mixed_specs(random.Random(0), 10, 16)
    assert len({spec.steps for spec in specs}) > 3
    assert {spec.guidance_scale for spec in specs} == {1.0, 1.5, 4.0}


@pytest.mark.parametrize("contender", ["ours", "ours, free shapes", "diffusers, eager", "diffusers, fused qkv"])
def test_a_contender_gives_every_figure(bench: Bench, contender: str) -> None:
    rows = list(end_to_end.rows(bench, contender))
    of_small = [row["what"] for row in rows if row["resolution"] == 64]
    assert sorted(of_small) == sorted(
        ["start-up", "first answer, 1 of 5 steps", "one image, 5 steps", "2 at once, 5 steps", "2 at once, 2 steps",
         "peak memory"]
    )
    assert {row["contender"] for row in rows} == {contender}
    assert all(row["value"] > 0 for row in rows if row["what"] != "peak memory")
    assert all(row["value"] is None for row in rows if row["what"] == "peak memory")  # nobody counts on a processor


def test_every_contender_that_a_section_names_is_there() -> None:
    named = {section.argument for section in SECTIONS if section.work == "gpu.end_to_end.rows"}
    assert named == set(end_to_end.CONTENDERS)


def test_quality_has_our_arithmetic_and_torchs_for_both_models(bench: Bench) -> None:
    rows = list(bench_quality.rows(bench, ""))
    assert len(rows) == 4
    assert {row["model"] for row in rows} == {"random, 64 px", "digits-64"}
    assert all(0 < row["error"] < 0.5 for row in rows)


def test_an_ops_row_says_whether_its_error_is_rounding() -> None:
    x = torch.ones(8)

    def row(kernel: float) -> dict[str, object]:
        case = Case("op", lambda x: x * kernel, lambda x: x * 2.0, (x,), 1.0, "GB/s")
        return ops.row(case, torch.float32)

    assert row(2.0) == {
        "kernel": "op", "dtype": "float32", "error": 0.0, "torch_error": 0.0, "bound": 1e-5, "is_within": True
    }
    assert row(2.001)["is_within"] is False
    assert row(float("nan"))["is_within"] is False


def test_an_op_of_eight_bit_floats_is_judged_by_what_they_stand_for() -> None:
    def op(factor: float) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        return lambda x: (x, *quantise_reference(factor * x))

    def row(factor: float) -> dict[str, object]:
        return ops.row(Case("op", op(factor), op(1.0), (torch.randn(64, 72),), 1.0, "GB/s"), torch.bfloat16)

    assert row(1.001)["is_within"]
    found = row(1.1)
    assert not found["is_within"]
    assert found["error"] == pytest.approx(0.1, rel=0.2)



def test_on_a_card_with_float8_its_ops_are_cases_too(monkeypatch: pytest.MonkeyPatch) -> None:
    device, names = torch.device("cpu"), [case.name for case in cases(TINY[0], torch.bfloat16, torch.device("cpu"))]
    assert not any("float8" in name for name in names)
    monkeypatch.setattr(kernel_cases, "takes_kernel", lambda *_, least: least == FLOAT8_CAPABILITY)
    found = {case.name.split()[0]: case for case in cases(TINY[0], torch.bfloat16, device) if case.name not in names}
    assert set(found) == {"layernorm_modulate_float8", "gate_residual_layernorm_modulate_float8", "gelu_float8"}
    for case in found.values():
        assert ops.distance(case.torchs(), case.exact()) <= ops.FLOAT8_BOUND


def test_a_kernels_row_has_its_rate_and_share(bench: Bench) -> None:
    case = Case("op", lambda x: x + 1, lambda x: x + 1.5, (torch.zeros(8),), 1e9, "GB/s")
    found = result(case, bench.device, {"GB/s": 50.0})
    assert found.rate == pytest.approx(1e9 / (found.ours_ms * 1e-3) / 1e9)
    assert found.ceiling_share == pytest.approx(found.rate / 50.0)
    assert found.difference == pytest.approx(0.5)


def test_every_section_has_its_rows() -> None:
    for section in SECTIONS:
        module, _, function = section.work.rpartition(".")
        assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), function))


def test_nothing_of_the_service_is_needed() -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('pydantic', 'fastapi', 'starlette', 'uvicorn', 'prometheus_client'))\n"
        "import benchmarks.gpu.__main__\n"
        "from benchmarks import bench_quality\n"
        "from benchmarks.gpu import bench, end_to_end, ops, steps\n"
        "from diffusers import DiTPipeline\n"
        "assert not any(name.startswith(('dit_serve.service', 'tests')) for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
