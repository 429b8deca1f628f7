"""sampler_step's kernel against its definition in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dit_serve.kernels.sampler_step import COLUMNS, sampler_step_reference, sampler_step_triton
from tests.kernels.launched.spoil import spoiled


def make_arguments(channels: int, out_channels: int, side: int, device: torch.device) -> dict[str, Any]:
    """Return four rows, two of them guided by sequences beyond them, at steps of different samplers."""
    coefficients = torch.randn(4, len(COLUMNS))
    coefficients[:, COLUMNS.index("clip")] = torch.tensor([0.5, math.inf, 1.0, math.inf])
    coefficients[:, COLUMNS.index("noise_scale")] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    latents = [torch.randn(4, channels, side, side, device=device) for _ in range(3)]
    return {
        "x": latents[0],
        "out": torch.randn(6, out_channels, side, side, device=device),
        "null_rows": torch.tensor([4, 1, 5, 3], device=device),
        "guidance_scale": torch.tensor([4.0, 1.0, 1.5, 1.0], device=device),
        "guidance_channels": 3,
        "coefficients": coefficients.to(device),
        "x0_prev": latents[1],
        "noise": latents[2],
    }


def definition(a: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    wide = {name: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for name, v in a.items()}
    return sampler_step_reference(**wide)


@pytest.mark.parametrize("has_noise", [True, False])
@pytest.mark.parametrize("guidance_channels", [0, 3, 4])
@pytest.mark.parametrize(("out_channels", "side"), [(8, 3), (4, 3), (8, 16)])
def test_equals_the_definition(
    out_channels: int, side: int, guidance_channels: int, has_noise: bool, device: torch.device
) -> None:
    arguments = make_arguments(4, out_channels, side, device) | {"guidance_channels": guidance_channels}
    arguments |= {} if has_noise else {"noise": None}
    for got, expected in zip(sampler_step_triton(**arguments), definition(arguments), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)  # float32, sums of numbers up to 50


def test_takes_the_networks_output_in_sixteen_bits(device: torch.device) -> None:
    arguments = make_arguments(4, 8, 3, device)
    arguments["out"] = arguments["out"].to(torch.bfloat16)
    for got, expected in zip(sampler_step_triton(**arguments), definition(arguments), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)  # float32 from there on


def test_a_row_alone_and_among_others_is_bitwise_equal(device: torch.device) -> None:
    a = make_arguments(4, 8, 3, device)
    together = sampler_step_triton(**a)
    for row in range(4):
        alone = {name: v[row:row + 1] if torch.is_tensor(v) else v for name, v in a.items()}
        alone["out"] = torch.stack([a["out"][row], a["out"][a["null_rows"][row]]])
        alone["null_rows"] = torch.tensor([1], device=device)
        for got, expected in zip(sampler_step_triton(**alone), together, strict=True):
            assert torch.equal(got, expected[row:row + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row_and_is_not_clipped_away(device: torch.device) -> None:
    a = make_arguments(4, 8, 3, device)
    clean = sampler_step_triton(**a)
    a["out"][0, :4], a["noise"][3] = math.nan, math.inf
    a["out"][1, 4:6], a["out"][1, 6:] = 1e30, -1e30
    new, x0 = sampler_step_triton(**a)
    assert torch.equal(new[1:3], clean[0][1:3])  # row 1 adds no noise: its wild variance must not matter
    assert torch.equal(x0[1:], clean[1][1:])
    assert x0[0].isnan().all()
    assert not new[3].isfinite().any()


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (4, 9), r"x must be \(N, C, H, W\), got \(4, 9\)"),
        ("out", (3, 8, 3, 3), r"out must be \(S >= 4, 4 or 8, H, W\), got \(3, 8, 3, 3\)"),
        ("null_rows", (3,), r"null_rows must be \(N = 4\), got \(3,\)"),
        ("guidance_scale", (4, 1), r"guidance_scale must be \(N = 4\), got \(4, 1\)"),
        ("guidance_channels", 5, "guidance_channels must be 0 to 4, got 5"),
        ("coefficients", torch.float64, "coefficients must be torch.float32, got torch.float64"),
        ("x", torch.bfloat16, "x must be torch.float32, got torch.bfloat16"),
        ("null_rows", torch.int32, "null_rows must be torch.int64, got torch.int32"),
        ("out", torch.float64, "out must be one of .*, got torch.float64"),
        ("noise", "strides", r"noise must be contiguous, got strides \(72, 18, 6, 2\)"),
        ("x0_prev", "meta", "x0_prev must be on x's device .*, got meta"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    with pytest.raises(ValueError, match=words):
        sampler_step_triton(**spoiled(make_arguments(4, 8, 3, device), name, what))


@pytest.mark.parametrize("has_noise", [True, False])
def test_is_a_custom_op_whose_fake_agrees(has_noise: bool, device: torch.device) -> None:
    arguments = make_arguments(4, 8, 3, device) | ({} if has_noise else {"noise": None})
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(sampler_step_triton, tuple(arguments.values()), test_utils=checks)
