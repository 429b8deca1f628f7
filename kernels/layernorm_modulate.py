"""Layer norm followed by a per-row shift and scale: y = LN(x) (1 + scale) + shift.

The adaptive layer norm of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3.2, adaLN). The
norm has no affine parameters of its own: shift and scale come from the conditioning, one pair a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl
from dit_serve.kernels.rows import load_tail, normalise, split, warps_for


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


def layernorm_modulate_launch(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, y: torch.Tensor
) -> Launch:
    """Return the launch that fills y, (N, T, D)."""
    rows, tokens, width = x.shape
    head, tail = split(width)
    arguments = {
        "x_ptr": x, "shift_ptr": shift, "scale_ptr": scale, "y_ptr": y,
        "shift_stride": shift.stride(0), "scale_stride": scale.stride(0), "eps": eps,
        "TOKENS": tokens, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1),
    }
    return Launch(layernorm_modulate_kernel, rows * tokens, arguments, {"num_warps": warps_for(width)})


@torch.library.custom_op("dit::layernorm_modulate", mutates_args=())
def layernorm_modulate_triton(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift computed by the kernel, statistics in float32, (N, T, D).

    Args:
        x: (N, T, D) contiguous, float32, bfloat16 or float16, on a card.
        shift: (N, D) of x's dtype, dense vectors at any distance: a view of modulations (N, 6L + 2, D) will do.
        scale: like shift.
        eps: added to the variance.

    Raises:
        ValueError: a shape, dtype, device or stride is another.
    """
    y: torch.Tensor = layernorm_modulate_fake(x, shift, scale, eps)
    layernorm_modulate_launch(x, shift, scale, eps, y).run()
    return y


@layernorm_modulate_triton.register_fake
def layernorm_modulate_fake(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the output, not filled yet, after all checks."""
    _check_shapes(x, shift, scale)
    checks.alike(x=x, shift=shift, scale=scale)
    checks.contiguous(x=x)
    checks.dense_vectors(shift=shift, scale=scale)
    return torch.empty_like(x)


def layernorm_modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D); see `layernorm_modulate_reference`, on a card also `_triton`.

    Raises:
        ValueError: shift or scale is not (N, D) for x's N and D.
    """
    if takes_kernel(x, shift, scale):
        y: torch.Tensor = layernorm_modulate_triton(x, shift, scale, eps)
        return y
    _check_shapes(x, shift, scale)
    return layernorm_modulate_reference(x, shift, scale, eps)


def _check_shapes(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> None:
    rows, _, width = checks.tokens("x", x)
    checks.shape("shift", shift, "(N, D)", (rows, width))
    checks.shape("scale", scale, "(N, D)", (rows, width))
