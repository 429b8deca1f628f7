"""sampler_step against its formula, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch

from dit_serve.kernels.sampler_step import COLUMNS, sampler_step


@pytest.fixture
def arguments() -> dict[str, torch.Tensor | int]:
    """Two rows, the first guided: three sequences, four channels and four more of variance."""
    coefficients = torch.randn(2, len(COLUMNS))
    coefficients[:, COLUMNS.index("clip")] = torch.tensor([0.5, math.inf])
    coefficients[:, COLUMNS.index("noise_scale")] = torch.tensor([1.0, 0.0])
    return {
        "x": torch.randn(2, 4, 3, 3),
        "out": torch.randn(3, 8, 3, 3),
        "null_rows": torch.tensor([2, 1]),
        "guidance_scale": torch.tensor([4.0, 1.0]),
        "guidance_channels": 3,
        "coefficients": coefficients,
        "x0_prev": torch.randn(2, 4, 3, 3),
        "noise": torch.randn(2, 4, 3, 3),
    }


def by_hand(a: dict[str, torch.Tensor], row: int, channel: int) -> tuple[float, float]:
    """Return (x', x0) of one latent pixel."""
    here = (row, channel, 1, 2)
    c = dict(zip(COLUMNS, a["coefficients"][row].tolist(), strict=True))
    out, x = a["out"][here].item(), a["x"][here].item()
    if channel < a["guidance_channels"]:
        null = a["out"][int(a["null_rows"][row]), channel, 1, 2].item()
        out = null + a["guidance_scale"][row].item() * (out - null)
    x0 = min(max(c["x0_x"] * x + c["x0_out"] * out, -c["clip"]), c["clip"])
    share = (a["out"][row, 4 + channel, 1, 2].item() + 1) / 2
    sigma = math.exp((share * c["log_variance_max"] + (1 - share) * c["log_variance_min"]) / 2)
    noise = c["noise_scale"] * sigma * a["noise"][here].item()
    return c["x_x"] * x + c["x_out"] * out + c["x_x0"] * x0 + c["x_prev"] * a["x0_prev"][here].item() + noise, x0


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("channel", [0, 2, 3])
def test_equals_the_formula_written_for_one_number(arguments: dict[str, torch.Tensor], row: int, channel: int) -> None:
    new, x0 = sampler_step(**arguments)
    expected_new, expected_x0 = by_hand(arguments, row, channel)
    assert new[row, channel, 1, 2].item() == pytest.approx(expected_new, rel=1e-4, abs=1e-4)  # float32, numbers of 10
    assert x0[row, channel, 1, 2].item() == pytest.approx(expected_x0, rel=1e-4, abs=1e-4)


def test_an_unguided_row_keeps_its_output_to_the_bit(arguments: dict[str, torch.Tensor]) -> None:
    new, _ = sampler_step(**arguments)
    arguments["guidance_scale"] = torch.tensor([4.0, 17.3])
    assert torch.equal(sampler_step(**arguments)[0][1], new[1])


def test_a_wild_variance_stays_in_its_own_row(arguments: dict[str, torch.Tensor]) -> None:
    new, _ = sampler_step(**arguments)
    arguments["out"][1, 4:] = 1e30
    assert torch.equal(sampler_step(**arguments)[0], new)  # row 1 adds no noise: its σ must not matter
    arguments["out"][0] = math.nan
    assert torch.equal(sampler_step(**arguments)[0][1], new[1])


def test_no_noise_is_the_same_as_no_noisy_row(arguments: dict[str, torch.Tensor]) -> None:
    arguments["coefficients"][:, COLUMNS.index("noise_scale")] = 0
    with_noise = sampler_step(**arguments)[0]
    assert torch.equal(sampler_step(**{**arguments, "noise": None})[0], with_noise)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"out": torch.zeros(1, 8, 3, 3)}, r"out must be \(S >= 2, 4 or 8, H, W\), got \(1, 8, 3, 3\)"),
        ({"out": torch.zeros(3, 6, 3, 3)}, "out must be"),
        ({"coefficients": torch.zeros(2, 9)}, r"coefficients must be \(2, 10\), got \(2, 9\)"),
        ({"guidance_channels": 5}, "guidance_channels must be 0 to 4, got 5"),
        ({"noise": torch.zeros(1, 4, 3, 3)}, r"noise must be \(N = 2, C = 4, H = 3, W = 3\), got \(1, 4, 3, 3\)"),
        ({"x0_prev": torch.zeros(2, 4, 3, 2)}, "x0_prev must be"),
    ],
)
def test_other_shapes_are_refused(arguments: dict[str, torch.Tensor], change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampler_step(**{**arguments, **change})
