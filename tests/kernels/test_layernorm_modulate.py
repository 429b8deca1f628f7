"""layernorm_modulate against the formula in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.layernorm_modulate import layernorm_modulate, layernorm_modulate_float8
from tests.kernels.quantised import assert_quantised


def formula(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.double()
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    normal = (x - mean) / torch.sqrt(variance + eps)
    return normal * (1 + scale.double()[:, None]) + shift.double()[:, None]


@pytest.mark.parametrize("eps", [1e-6, 1e-5])
@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 48), (2, 257, 1152)])
def test_equals_the_formula(shape: tuple[int, int, int], eps: float) -> None:
    x, shift, scale = 3 * torch.randn(shape) + 1, torch.randn(shape[0], shape[2]), torch.randn(shape[0], shape[2])
    got = layernorm_modulate(x, shift, scale, eps)
    torch.testing.assert_close(got.double(), formula(x, shift, scale, eps), rtol=1e-5, atol=1e-5)  # float32 sums of D


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 48), (2, 257, 1152)])
def test_the_float8_op_quantises_what_the_formula_gives(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, pool = (3 * torch.randn(shape) + 1).to(dtype), torch.randn(4, 2, shape[2]).to(dtype)
    rows = torch.arange(shape[0]).flip(0)
    exact = formula(x, pool[rows, 0], pool[rows, 1], 1e-6)
    assert_quantised(*layernorm_modulate_float8(x, pool[:, 0], pool[:, 1], 1e-6, rows), exact, 1e-5)


def test_rows_say_which_shift_and_scale_of_a_pool_are_whose() -> None:
    x, pool = torch.randn(3, 5, 48), torch.randn(4, 2, 48)
    rows = torch.tensor([3, 0, 3])
    got = layernorm_modulate(x, pool[:, 0], pool[:, 1], 1e-6, rows)
    expected = torch.cat([formula(x[n:n + 1], pool[r:r + 1, 0], pool[r:r + 1, 1], 1e-6) for n, r in enumerate(rows)])
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)  # float32


def test_an_index_of_another_shape_and_of_rows_that_are_not_there_is_refused() -> None:
    x, pool = torch.zeros(3, 2, 8), torch.zeros(4, 8)
    with pytest.raises(ValueError, match=r"rows must be \(N = 3\), got \(2,\)"):
        layernorm_modulate(x, pool, pool, 1e-6, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"scale must be \(R = 4, D = 8\), got \(3, 8\)"):
        layernorm_modulate(x, pool, pool[1:], 1e-6, torch.tensor([0, 1, 2]))
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        layernorm_modulate(x, pool, pool, 1e-6, torch.tensor([0, 1, 4]))


@pytest.mark.parametrize("name", ["shift", "scale"])
def test_a_vector_of_another_shape_is_refused_with_both_shapes(name: str) -> None:
    vectors = {"shift": torch.zeros(2, 8), "scale": torch.zeros(2, 8), name: torch.zeros(1, 8)}
    with pytest.raises(ValueError, match=rf"{name} must be \(N = 2, D = 8\), got \(1, 8\)"):
        layernorm_modulate(torch.zeros(2, 3, 8), eps=1e-6, **vectors)
