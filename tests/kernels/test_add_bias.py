"""add_bias against plain sums in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.add_bias import add_bias


def formula(h: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None, upsampling: int) -> torch.Tensor:
    y = h.double() + bias.double().view(1, -1, 1, 1) + (0.0 if residual is None else residual.double())
    return y.repeat_interleave(upsampling, dim=2).repeat_interleave(upsampling, dim=3)


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("has_residual", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_is_the_sum_rounded_once(
    dtype: torch.dtype, layout: torch.memory_format, has_residual: bool, upsampling: int
) -> None:
    h, residual = (torch.randn(2, 8, 3, 5).to(dtype, memory_format=layout) for _ in range(2))
    bias = torch.randn(8).to(dtype)
    got = add_bias(h, bias, residual if has_residual else None, upsampling)
    expected = formula(h, bias, residual if has_residual else None, upsampling)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=layout)
    half_a_unit = torch.finfo(dtype).eps / 2
    # sums in float32, two of them of numbers up to about 8
    torch.testing.assert_close(got.double(), expected, rtol=half_a_unit * 1.001, atol=1e-6)


def test_a_bias_in_float32_is_not_rounded_before_the_sum() -> None:
    h, bias = torch.ones(1, 8, 1, 1, dtype=torch.bfloat16), torch.full((8,), 2**-8 + 2**-20)
    assert torch.equal(add_bias(h, bias), torch.full_like(h, 1 + 2**-7))  # 2⁻⁸ alone is a tie, and goes to even
    assert torch.equal(add_bias(h, bias.to(h.dtype)), h)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bias": torch.zeros(4)}, r"bias must be \(C = 8\), got \(4,\)"),
        ({"residual": torch.zeros(2, 8, 3, 4)}, r"residual must be \(N = 2, C = 8, H = 3, W = 3\), got \(2, 8, 3, 4\)"),
        ({"h": torch.zeros(2, 8, 3)}, r"h must be \(N, C, H, W\), got \(2, 8, 3\)"),
        ({"upsampling": 3}, "upsampling must be 1 or 2, got 3"),
        ({"upsampling": 0}, "upsampling must be 1 or 2, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(changed: dict[str, object], words: str) -> None:
    arguments = {"h": torch.zeros(2, 8, 3, 3), "bias": torch.zeros(8), "residual": None, "upsampling": 1, **changed}
    with pytest.raises(ValueError, match=words):
        add_bias(**arguments)  # type: ignore[arg-type]
