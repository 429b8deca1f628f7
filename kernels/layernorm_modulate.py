"""Layer norm followed by a per-row shift and scale: y = LN(x) (1 + scale) + shift.

The adaptive layer norm of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3.2, adaLN). The
norm has no affine parameters of its own: shift and scale come from the conditioning, one pair a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.rows import load_tail, normalise, split, warps_for


def layernorm_modulate_reference(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D) in x's dtype.

    Args:
        x: (N, T, D).
        shift: (N, D), added to every token of its row.
        scale: (N, D), zero leaves the normalised value as it is.
        eps: added to the variance.
    """
    checks.sizes(x=(x, "NTD"), shift=(shift, "ND"), scale=(scale, "ND"))
    normed = F.layer_norm(x, (x.shape[-1],), eps=eps)
    return torch.addcmul(shift.unsqueeze(1), normed, 1 + scale.unsqueeze(1))


@jit()
def layernorm_modulate_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, T, D)
    shift_ptr,  # (N, D), rows shift_stride apart
    scale_ptr,  # (N, D), rows scale_stride apart
    y_ptr,  # (N, T, D)
    shift_stride,
    scale_stride,
    eps,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
):
    """One program normalises and modulates one token."""
    token = tl.program_id(0).to(tl.int64)
    row = token // TOKENS
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL)
    x_ptr += token * WIDTH
    y_ptr += token * WIDTH
    shift_ptr += row * shift_stride
    scale_ptr += row * scale_stride
    head = tl.load(x_ptr + at).to(tl.float32)
    tail = load_tail(x_ptr, tail_at, WIDTH)
    head, tail = normalise(head, tail, tail_at, eps, WIDTH)
    head = head * (1.0 + tl.load(scale_ptr + at).to(tl.float32)) + tl.load(shift_ptr + at).to(tl.float32)
    tail = tail * (1.0 + load_tail(scale_ptr, tail_at, WIDTH)) + load_tail(shift_ptr, tail_at, WIDTH)
    tl.store(y_ptr + at, head.to(y_ptr.dtype.element_ty))
    tl.store(y_ptr + tail_at, tail.to(y_ptr.dtype.element_ty), mask=tail_at < WIDTH)


def layernorm_modulate_launch(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> Launch:
    """Return the launch for x contiguous, and vectors dense but at any distance, as in a view of (N, 6L + 2, D)."""
    rows, tokens, width = checks.sizes(x=(x, "NTD"), shift=(shift, "ND"), scale=(scale, "ND"))
    checks.alike(x=x, shift=shift, scale=scale)
    checks.contiguous(x=x)
    checks.dense_vectors(shift=shift, scale=scale)
    y = torch.empty_like(x)
    head, tail = split(width)
    arguments = {
        "x_ptr": x, "shift_ptr": shift, "scale_ptr": scale, "y_ptr": y,
        "shift_stride": shift.stride(0), "scale_stride": scale.stride(0), "eps": eps,
        "TOKENS": tokens, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1),
    }
    return Launch(y, layernorm_modulate_kernel, rows * tokens, arguments, {"num_warps": warps_for(width)})


layernorm_modulate_triton = torch_op(layernorm_modulate_reference, layernorm_modulate_launch)


def layernorm_modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D); see `layernorm_modulate_reference`, on a card also `_launch`.

    Raises:
        ValueError: shift or scale is not (N, D) for x's N and D, or the kernel cannot take a dtype, device or stride.
    """
    if takes_kernel(x, shift, scale):
        return layernorm_modulate_triton(x, shift, scale, eps)
    return layernorm_modulate_reference(x, shift, scale, eps)
