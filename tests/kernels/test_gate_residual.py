"""gate_residual against the formula."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.gate_residual import gate_residual


def test_adds_the_branch_times_its_rows_gate() -> None:
    x, gate, h = torch.randn(2, 5, 8), torch.randn(2, 8), torch.randn(2, 5, 8)
    expected = x.double() + gate.double()[:, None] * h.double()
    torch.testing.assert_close(gate_residual(x, gate, h).double(), expected, rtol=1e-6, atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("gate", "h", "words"),
    [((2, 8), (2, 4, 8), r"h must have x's shape \(2, 5, 8\), got \(2, 4, 8\)"), ((1, 8), (2, 5, 8), "gate must be")],
)
def test_another_shape_is_refused(gate: tuple[int, ...], h: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gate_residual(torch.zeros(2, 5, 8), torch.zeros(gate), torch.zeros(h))
