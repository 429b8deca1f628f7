"""gate_residual_layernorm_modulate is the two ops that it joins."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.gate_residual import gate_residual
from dit_serve.kernels.gate_residual_layernorm_modulate import gate_residual_layernorm_modulate
from dit_serve.kernels.layernorm_modulate import layernorm_modulate


@pytest.mark.parametrize("eps", [1e-6, 1e-5])
def test_is_bitwise_the_two_ops_it_joins(eps: float) -> None:
    x, h = torch.randn(2, 5, 48), torch.randn(2, 5, 48)
    gate, shift, scale = torch.randn(2, 6, 48)[:, 2:5].unbind(1)
    new, y = gate_residual_layernorm_modulate(x, gate, h, shift, scale, eps)
    assert torch.equal(new, gate_residual(x, gate, h))
    assert torch.equal(y, layernorm_modulate(new, shift, scale, eps))


@pytest.mark.parametrize("name", ["gate", "shift", "scale"])
def test_a_vector_of_another_shape_is_refused_with_both_shapes(name: str) -> None:
    vectors = {"gate": torch.zeros(2, 8), "shift": torch.zeros(2, 8), "scale": torch.zeros(2, 8)}
    vectors[name] = torch.zeros(1, 8)
    with pytest.raises(ValueError, match=rf"{name} must be \(N, D\) = \(2, 8\), got \(1, 8\)"):
        gate_residual_layernorm_modulate(torch.zeros(2, 3, 8), h=torch.zeros(2, 3, 8), **vectors)
