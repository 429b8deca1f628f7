"""What eight-bit floats with a scale a row may be off by."""

from __future__ import annotations

import torch


def assert_quantised(values: torch.Tensor, scales: torch.Tensor, exact: torch.Tensor, slack: float) -> None:
    """Assert that values (..., K) times scales (...) are `exact` rounded once to three bits of mantissa.

    Half a unit of the last place is 1/16 of a value, or half of the smallest step 2⁻⁹ below 2⁻⁶, times the scale.

    Args:
        values: float8_e4m3fn.
        scales: float32.
        exact: (..., K) float64.
        slack: what float32's arithmetic before the rounding adds, of 1 + |exact|.
    """
    assert (values.dtype, scales.dtype) == (torch.float8_e4m3fn, torch.float32)
    assert (values.shape, scales.shape) == (exact.shape, exact.shape[:-1])
    wide = scales.double().unsqueeze(-1)
    half_unit = torch.maximum(exact.abs() * 2**-4, wide * 2**-10)
    assert bool(((values.double() * wide - exact).abs() <= half_unit + slack * (1 + exact.abs())).all())
    torch.testing.assert_close(448 * scales.double(), exact.abs().amax(-1), rtol=max(slack, 1e-6), atol=slack)
