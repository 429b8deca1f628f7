"""linear against the formulas of its epilogues in float64."""

from __future__ import annotations

import math

import pytest
import torch

from kernels.linear import linear


def test_each_epilogue_equals_its_formula() -> None:
    x, weight, bias = torch.randn(2, 5, 16), torch.randn(8, 16), torch.randn(8)
    gate, residual = torch.randn(2, 8), torch.randn(2, 5, 8)
    plain = x.double() @ weight.double().T + bias.double()
    tanh = torch.tanh(math.sqrt(2 / math.pi) * (plain + 0.044715 * plain**3))  # arXiv 1606.08415, section 2
    close = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums of 16
    torch.testing.assert_close(linear(x, weight, bias).double(), plain, **close)
    torch.testing.assert_close(linear(x, weight, bias, "gelu_tanh").double(), plain * (1 + tanh) / 2, **close)
    got = linear(x, weight, bias, "gate_residual", gate, residual)
    torch.testing.assert_close(got.double(), residual.double() + gate.double()[:, None] * plain, **close)


@pytest.mark.parametrize(
    ("epilogue", "has_gate", "words"),
    [
        ("relu", False, "epilogue must be one of none, gelu_tanh, gate_residual, got 'relu'"),
        ("gelu_tanh", True, "gate goes with epilogue gate_residual alone, got 'gelu_tanh' with gate"),
        ("gate_residual", False, "got 'gate_residual' without gate"),
    ],
)
def test_an_epilogue_without_what_it_needs_is_refused(epilogue: str, has_gate: bool, words: str) -> None:
    gate = torch.zeros(1, 4) if has_gate else None
    with pytest.raises(ValueError, match=words):
        linear(torch.zeros(1, 2, 8), torch.zeros(4, 8), torch.zeros(4), epilogue, gate)
