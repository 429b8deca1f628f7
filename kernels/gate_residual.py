"""Gated residual: x + gate h, one gate vector a row.

The last step of each branch of an adaLN-Zero block (arXiv 2212.09748, section 3.2): with the gate at zero the block
is the identity.
"""

from __future__ import annotations

import torch


def gate_residual_reference(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return x + gate h, (N, T, D).

    Args:
        x: (N, T, D), the residual stream.
        gate: (N, D), applied to every token of its row.
        h: (N, T, D), what the branch computed.
    """
    return torch.addcmul(x, gate.unsqueeze(1), h)


def gate_residual(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return x + gate h, (N, T, D); see `gate_residual_reference`.

    Raises:
        ValueError: h is not x's shape, or gate is not (N, D).
    """
    if h.shape != x.shape:
        raise ValueError(f"h must have x's shape {tuple(x.shape)}, got {tuple(h.shape)}")
    if gate.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"gate must be (N, D) = {(x.shape[0], x.shape[2])}, got {tuple(gate.shape)}")
    return gate_residual_reference(x, gate, h)
