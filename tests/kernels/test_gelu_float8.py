"""gelu_float8 against the formula in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dit_serve.kernels.gelu_float8 import gelu_float8
from tests.kernels.quantised import assert_quantised


def formula(h: torch.Tensor) -> torch.Tensor:
    h = h.double()
    return 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 288), (1, 257, 4608)])
def test_equals_the_formula_quantised(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    h = (2 * torch.randn(shape)).to(dtype)
    assert_quantised(*gelu_float8(h), formula(h), 1e-5)


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"h must be \(N, T, K\), got \(5, 8\)"):
        gelu_float8(torch.zeros(5, 8))
