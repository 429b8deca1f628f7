"""Every section's rows, dry: what they hold is asserted, what they measure is not."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import dit_serve
from benchmarks import bench_quality, kernel_cases
from benchmarks.gpu import end_to_end, kernels, ops, steps
from benchmarks.gpu.bench import Bench, ceilings
from benchmarks.gpu.sections import SECTIONS, Row
from benchmarks.kernel_cases import TINY, Case, Shape, cases
from benchmarks.timing import Spread
from dit_serve import Pipeline
from dit_serve.kernels.float8 import quantise_reference
from dit_serve.kernels.launch import FLOAT8_CAPABILITY
from dit_serve.models.sampling.sampler import SAMPLERS


def test_the_ceilings_are_left_for_the_sections_after(bench: Bench) -> None:
    found = {row["unit"]: row["best"] for row in ceilings(bench, "")}
    assert set(found) == {"TFLOP/s", "GB/s"}
    assert bench.largest == found


def test_steps_are_measured_for_every_resolution_and_number_of_sequences(bench: Bench) -> None:
    rows = list(steps.rows(bench, ""))
    expected = {(r, s) for r in bench.resolutions for s in bench.scale.sequences}
    assert {(row["resolution"], row["sequences"]) for row in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("section", [steps.rows, steps.invariance])
def test_another_precision_is_asked_of_the_pipeline_at_the_smaller_resolution(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, section: Callable[[Bench, str], Iterator[Row]]
) -> None:
    asked = list[tuple[Path, object]]()
    load = dit_serve.load_pipeline

    def recorded(folder: Path, *, precision: object = None, **knobs: object) -> Pipeline:
        asked.append((folder, precision))
        return load(folder, **knobs)

    monkeypatch.setattr(dit_serve, "load_pipeline", recorded)
    assert {row["resolution"] for row in section(bench, "fp8")} == {64}
    assert {row["resolution"] for row in section(bench, "")} == {64, 128}
    assert asked == [(bench.folder(64), "fp8"), (bench.folder(64), None), (bench.folder(128), None)]


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


@pytest.mark.parametrize("contender", [name for name in end_to_end.CONTENDERS if "fp8" not in name])
def test_a_contender_gives_every_figure(bench: Bench, contender: str) -> None:
    rows = list(end_to_end.rows(bench, contender))
    assert [row["what"] for row in rows if row["resolution"] == 64] == [
        "start-up", "first answer, 2 of 2 steps", "2 at once, 2 steps", "2 at once, 5 steps", "one image, 5 steps",
        "peak memory",
    ]
    assert {row["contender"] for row in rows} == {contender}
    assert all(row["value"] > 0 for row in rows if row["what"] != "peak memory")
    assert all(row["value"] is None for row in rows if row["what"] == "peak memory")  # nobody counts on a processor


@pytest.mark.parametrize("contender", ["diffusers, compiled", "diffusers, compiled, in graphs"])
def test_a_compiled_peer_makes_the_eager_one_s_images(bench: Bench, contender: str) -> None:
    eager, other = (
        end_to_end.open_contender(bench, end_to_end.CONTENDERS[name], 64) for name in ("diffusers, eager", contender)
    )
    for images in (2, 1, 2):
        np.testing.assert_allclose(np.asarray(other(images, 3)), np.asarray(eager(images, 3)), atol=1e-4)  # float32


def test_the_peer_is_compiled_block_by_block_in_the_mode_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = list[tuple[str, dict[str, object]]]()
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how))
    )
    end_to_end.open_contender(bench, end_to_end.CONTENDERS["diffusers, compiled"], 64)
    block = ("BasicTransformerBlock", {"dynamic": False, "fullgraph": True, "backend": "eager"})
    assert compiled == [block, block, ("Decoder", {"dynamic": False, "backend": "eager"})]


def test_every_contender_that_a_section_names_is_there() -> None:
    named = {section.argument for section in SECTIONS if section.work == "gpu.end_to_end.rows"}
    assert named == set(end_to_end.CONTENDERS)


def test_quality_has_our_arithmetic_and_torchs_for_both_models(bench: Bench) -> None:
    rows = list(bench_quality.rows(bench, ""))
    assert len(rows) == 6
    assert {row["model"] for row in rows} == {"random, 64 px", "digits-64"}
    assert all(0 < row["error"] < 0.5 for row in rows)
    assert all(row["against"] == ("ours, bfloat16" if "fp8" in row["arithmetic"] else "float32") for row in rows)


def test_float32_is_computed_by_torch_s_operators_and_fp8_by_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, load, takes_kernel = list[object](), bench_quality.load_pipeline, bench_quality.OPS[0].takes_kernel

    def recorded(folder: Path, *, dtype: torch.dtype, **knobs: object) -> Pipeline:
        is_torchs = bench_quality.OPS[0].takes_kernel is not takes_kernel
        asked.append((dtype, "torch's" if is_torchs else "ours"))
        return load(folder, dtype=dtype, **knobs)

    def warm_up(pipeline: Pipeline) -> None:
        asked.append("warmed up in fp8" if pipeline.model.is_float8 else "warmed up")

    monkeypatch.setattr(bench_quality, "load_pipeline", recorded)
    monkeypatch.setattr(Pipeline, "warm_up", warm_up)
    rows = list(bench_quality.differences("m", bench.folder(64), "cpu", 2, 2))
    assert [row.arithmetic for row in rows] == ["torch's operators, bfloat16", "ours, bfloat16", "ours, fp8"]
    assert asked == [
        (torch.float32, "torch's"), (torch.bfloat16, "torch's"),
        (torch.bfloat16, "ours"), "warmed up", (torch.bfloat16, "ours"), "warmed up in fp8",
    ]


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


def test_an_op_that_fails_says_why_in_its_own_row(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such block\nand more")

    case = Case("op", broken, lambda x: x * 2.0, (torch.ones(8),), 1.0, "GB/s")
    assert ops.row(case, torch.float32) == {
        "kernel": "op", "dtype": "float32", "is_within": False, "failed": "ValueError: no such block"
    }
    assert 'in broken\n    raise ValueError("no such block' in capsys.readouterr().err


def test_the_served_format_goes_first_and_through_all_shapes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = (Shape(1, 4, 72, 1, 96), Shape(2, 4, 72, 1, 96))
    monkeypatch.setattr(ops, "TINY", shapes)
    monkeypatch.setattr(Case, "ours", Case.torchs)  # kernels are only interpreted in a process of their own
    rows = list(ops.rows(bench, ""))
    of_one = len(list(cases(shapes[0], torch.float32, bench.device)))
    assert [row["dtype"] for row in rows] == ["float32"] * 2 * of_one + ["float16"] * of_one
    assert not any("failed" in row for row in rows)


def test_a_kernels_row_has_its_rate_and_shares(bench: Bench) -> None:
    list(ceilings(bench, ""))
    found = kernels.row(bench, Case("op", lambda x: x + 1, lambda x: x + 1.5, (torch.zeros(8),), 1e9, "TFLOP/s"))
    assert found["rate"] == pytest.approx(1e9 / (found["ours_ms"] * 1e-3) / 1e12)
    assert found["ceiling_share"] == pytest.approx(found["rate"] / bench.largest["TFLOP/s"])
    assert found["difference"] == pytest.approx(0.5)
    assert "copy_share" not in found


def test_a_kernel_that_moves_bytes_is_held_to_a_copy_of_as_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = list[int]()

    def timed(work: Callable[[], object], *_: object, **__: object) -> Spread:
        made = work()
        moved.append(made.nbytes if isinstance(made, torch.Tensor) else 0)
        return Spread(float(len(moved)), 0.0)  # ours 1 ms, the copy 3 ms

    monkeypatch.setattr(kernels, "measure", timed)
    found = kernels.row(bench, Case("op", lambda x: x + 1, lambda x: x + 1.5, (torch.zeros(8),), 2e6, "GB/s"))
    assert found["copy_share"] == 3.0
    assert moved[2] == 1_000_000  # each read and written


def test_kernels_have_no_linear_layers_and_say_of_which_step_they_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "ours", Case.torchs)  # kernels are only interpreted in a process of their own
    rows = list(kernels.rows(bench, ""))
    assert {row["kernel"].split()[0] for row in rows} == {
        "layernorm_modulate", "gate_residual_layernorm_modulate", "attention", "sampler_step", "groupnorm_silu",
        "add_bias",
    }
    assert {row["sequences"] for row in rows} == {2}


def test_a_kernel_that_fails_costs_its_own_row_alone(bench: Bench) -> None:
    rows = list(kernels.rows(bench, ""))  # none is interpreted in this process
    assert len(rows) > 4
    assert {row["failed"].partition(":")[0] for row in rows} == {"ValueError"}


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
        "from benchmarks.gpu import bench, end_to_end, kernels, linear, ops, profile, same_bytes, served, steps\n"
        "from diffusers import DiTPipeline\n"
        "assert not any(name.startswith(('dit_serve.service', 'tests')) for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
