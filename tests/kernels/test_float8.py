"""Eight-bit floats with a scale a row, against the nearest of all their values."""

from __future__ import annotations

import math

import pytest
import torch

from dit_serve.kernels.float8 import LARGEST, quantise_reference, quantise_weight
from tests.kernels.quantised import assert_quantised

ALL = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
FINITE = ALL[ALL.isfinite()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 257, 72), (2, 1152)])
def test_every_value_is_the_nearest_there_is(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (3 * torch.randn(shape)).to(dtype)
    values, scales = quantise_reference(x)
    assert_quantised(values, scales, x.double(), 1e-6)
    wanted = x.double() / scales.double().unsqueeze(-1)
    nearest = (wanted.reshape(-1, 1) - FINITE).abs().amin(1).view(shape)
    assert bool(((values.double() - wanted).abs() <= nearest + 1e-6 * wanted.abs()).all())  # float32's quotient


def test_the_largest_magnitude_of_a_row_takes_the_largest_value_and_a_tie_is_even() -> None:
    values, scales = quantise_reference(torch.tensor([[LARGEST, 17.0, 19.0, 2**-10, 3 * 2**-10], [-7.0, 7.0, 0, 0, 0]]))
    assert scales.tolist() == [1.0, 7 / 448]
    assert values.float().tolist() == [[448.0, 16.0, 20.0, 0.0, 2**-8], [-448.0, 448.0, 0.0, 0.0, 0.0]]
    assert FINITE.max() == LARGEST


@pytest.mark.parametrize("magnitude", [0.0, 1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_rows_of_any_magnitude_keep_finite_values_and_scales(magnitude: float) -> None:
    x = magnitude * torch.tensor([[1.0, -0.5, 0.25]])
    values, scales = quantise_reference(x)
    assert bool(values.float().isfinite().all() and scales.isfinite().all() and (scales > 0).all())
    torch.testing.assert_close(values.double() * scales.double(), x.double(), rtol=2**-4, atol=2.0**-136)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_row(bad: float) -> None:
    x = torch.randn(3, 72)
    clean = quantise_reference(x)
    x[1, 5] = bad
    values, scales = quantise_reference(x)
    assert values[1].float().isnan().any()
    for row in (0, 2):
        assert torch.equal(values[row].float(), clean[0][row].float())
        assert scales[row] == clean[1][row]


def test_a_weight_has_a_scale_an_output() -> None:
    weight = torch.randn(40, 144) * torch.logspace(-3, 3, 40).unsqueeze(1)
    values, scales = quantise_weight(weight)
    assert (values.shape, scales.shape) == ((40, 144), (40,))
    assert_quantised(values, scales, weight.double(), 1e-6)
    with pytest.raises(ValueError, match=r"weight must be \(O, K\), got \(2, 3, 4\)"):
        quantise_weight(torch.zeros(2, 3, 4))
