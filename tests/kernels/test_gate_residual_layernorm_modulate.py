"""gate_residual_layernorm_modulate against the formula, and against layernorm_modulate."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate,
    gate_residual_layernorm_modulate_float8,
)
from dit_serve.kernels.layernorm_modulate import layernorm_modulate, layernorm_modulate_float8


@pytest.mark.parametrize("eps", [1e-6, 1e-5])
def test_adds_the_gated_branch_and_norms_the_sum_to_the_bit_as_layernorm_modulate_does(eps: float) -> None:
    x, h = torch.randn(2, 5, 48), torch.randn(2, 5, 48)
    gate, shift, scale = torch.randn(2, 6, 48)[:, 2:5].unbind(1)
    new, y = gate_residual_layernorm_modulate(x, gate, h, shift, scale, eps)
    expected = x.double() + gate.double()[:, None] * h.double()
    torch.testing.assert_close(new.double(), expected, rtol=1e-6, atol=1e-6)  # float32
    assert torch.equal(y, layernorm_modulate(new, shift, scale, eps))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_float8_op_has_the_same_sum_and_its_norm_quantised(dtype: torch.dtype) -> None:
    x, h, gate, shift, scale = (torch.randn(shape).to(dtype) for shape in (*[(2, 5, 48)] * 2, *[(3, 48)] * 3))
    rows = torch.tensor([2, 0])
    new, values, scales = gate_residual_layernorm_modulate_float8(x, gate, h, shift, scale, 1e-6, rows)
    assert torch.equal(new, gate_residual_layernorm_modulate(x, gate, h, shift, scale, 1e-6, rows)[0])
    expected = layernorm_modulate_float8(new, shift, scale, 1e-6, rows)
    assert torch.equal(values.float(), expected[0].float())
    assert torch.equal(scales, expected[1])


def test_rows_say_which_vectors_of_a_pool_are_whose() -> None:
    x, h = torch.randn(3, 5, 48), torch.randn(3, 5, 48)
    gate, shift, scale = torch.randn(4, 3, 48).unbind(1)
    rows = torch.tensor([3, 0, 3])
    found = gate_residual_layernorm_modulate(x, gate, h, shift, scale, 1e-6, rows)
    for n, r in enumerate((3, 0, 3)):
        alone = gate_residual_layernorm_modulate(
            x[n:n + 1], gate[r:r + 1], h[n:n + 1], shift[r:r + 1], scale[r:r + 1], 1e-6
        )
        for got, expected in zip(found, alone, strict=True):
            assert torch.equal(got[n:n + 1], expected)


def test_an_index_of_another_shape_is_refused() -> None:
    x, pool = torch.zeros(3, 2, 8), torch.zeros(4, 8)
    with pytest.raises(ValueError, match=r"rows must be \(N = 3\), got \(2,\)"):
        gate_residual_layernorm_modulate(x, pool, x, pool, pool, 1e-6, torch.tensor([0, 1]))


def test_a_branch_of_another_shape_is_refused() -> None:
    vector = torch.zeros(2, 8)
    with pytest.raises(ValueError, match=r"h must be \(N = 2, T = 5, D = 8\), got \(2, 4, 8\)"):
        gate_residual_layernorm_modulate(torch.zeros(2, 5, 8), vector, torch.zeros(2, 4, 8), vector, vector, 1e-6)


@pytest.mark.parametrize("name", ["gate", "shift", "scale"])
def test_a_vector_of_another_shape_is_refused_with_both_shapes(name: str) -> None:
    vectors = {"gate": torch.zeros(2, 8), "shift": torch.zeros(2, 8), "scale": torch.zeros(2, 8)}
    vectors[name] = torch.zeros(1, 8)
    with pytest.raises(ValueError, match=rf"{name} must be \(N = 2, D = 8\), got \(1, 8\)"):
        gate_residual_layernorm_modulate(torch.zeros(2, 3, 8), h=torch.zeros(2, 3, 8), eps=1e-6, **vectors)
