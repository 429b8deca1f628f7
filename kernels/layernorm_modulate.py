"""Layer norm followed by a per-row shift and scale: y = LN(x) (1 + scale) + shift.

The adaptive layer norm of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3.2, adaLN). The
norm has no affine parameters of its own: shift and scale come from the conditioning, one pair a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def layernorm_modulate_reference(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6
) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D) in x's dtype.

    Args:
        x: (N, T, D).
        shift: (N, D), added to every token of its row.
        scale: (N, D), zero leaves the normalised value as it is.
        eps: added to the variance.
    """
    return F.layer_norm(x, (x.shape[-1],), eps=eps) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def layernorm_modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D); see `layernorm_modulate_reference`.

    Raises:
        ValueError: shift or scale is not (N, D) for x's N and D.
    """
    rows, _, width = x.shape
    for name, value in (("shift", shift), ("scale", scale)):
        if value.shape != (rows, width):
            raise ValueError(f"{name} must be (N, D) = {(rows, width)}, got {tuple(value.shape)}")
    return layernorm_modulate_reference(x, shift, scale, eps)
