"""layernorm_modulate against the formula in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.layernorm_modulate import layernorm_modulate


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


@pytest.mark.parametrize("name", ["shift", "scale"])
def test_a_vector_of_another_shape_is_refused_with_both_shapes(name: str) -> None:
    vectors = {"shift": torch.zeros(2, 8), "scale": torch.zeros(2, 8), name: torch.zeros(1, 8)}
    with pytest.raises(ValueError, match=rf"{name} must be \(N = 2, D = 8\), got \(1, 8\)"):
        layernorm_modulate(torch.zeros(2, 3, 8), eps=1e-6, **vectors)
