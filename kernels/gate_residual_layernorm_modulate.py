"""Gated residual and the modulated norm that follows it, in one pass: x' = x + gate h, y = LN(x') (1 + scale) + shift.

In a chain of adaLN-Zero blocks (arXiv 2212.09748, section 3.2) every gated residual is followed by a modulated norm:
the MLP's after the attention, the next block's after the MLP, the final layer's after the last block. So all but the
first norm of the network are this op, which reads x and h and writes x' and y: four passes over (N, T, D) in place
of five, and half the launches.
"""

from __future__ import annotations

import torch

from dit_serve.kernels import checks
from dit_serve.kernels.gate_residual import check_gated, gate_residual_reference
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl
from dit_serve.kernels.layernorm_modulate import layernorm_modulate_reference
from dit_serve.kernels.rows import load_tail, normalise, split, warps_for


def gate_residual_layernorm_modulate_reference(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', y), each (N, T, D): what gate_residual and then layernorm_modulate return.

    Args:
        x: (N, T, D), the residual stream.
        gate: (N, D), applied to every token of its row.
        h: (N, T, D), what the branch computed.
        shift: (N, D), of the norm that follows.
        scale: (N, D), likewise.
        eps: added to the variance.
    """
    x = gate_residual_reference(x, gate, h)
    return x, layernorm_modulate_reference(x, shift, scale, eps)


@jit()
def gate_residual_layernorm_modulate_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, T, D)
    gate_ptr,  # (N, D), rows gate_stride apart
    h_ptr,  # (N, T, D)
    shift_ptr,  # (N, D), rows shift_stride apart
    scale_ptr,  # (N, D), rows scale_stride apart
    new_ptr,  # (N, T, D)
    y_ptr,  # (N, T, D)
    gate_stride,
    shift_stride,
    scale_stride,
    eps,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
):
    """One program does one token. The norm sees x' as rounded for the store: fused or not, the same function."""
    token = tl.program_id(0).to(tl.int64)
    row = token // TOKENS
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL)
    inside = tail_at < WIDTH
    x_ptr += token * WIDTH
    h_ptr += token * WIDTH
    new_ptr += token * WIDTH
    y_ptr += token * WIDTH
    gate_ptr += row * gate_stride
    shift_ptr += row * shift_stride
    scale_ptr += row * scale_stride
    head = tl.load(x_ptr + at).to(tl.float32)
    head += tl.load(gate_ptr + at).to(tl.float32) * tl.load(h_ptr + at).to(tl.float32)
    tail = load_tail(x_ptr, tail_at, WIDTH)
    tail += load_tail(gate_ptr, tail_at, WIDTH) * load_tail(h_ptr, tail_at, WIDTH)
    new_head = head.to(new_ptr.dtype.element_ty)
    new_tail = tail.to(new_ptr.dtype.element_ty)
    tl.store(new_ptr + at, new_head)
    tl.store(new_ptr + tail_at, new_tail, mask=inside)
    head, tail = normalise(new_head.to(tl.float32), new_tail.to(tl.float32), tail_at, eps, WIDTH)
    head = head * (1.0 + tl.load(scale_ptr + at).to(tl.float32)) + tl.load(shift_ptr + at).to(tl.float32)
    tail = tail * (1.0 + load_tail(scale_ptr, tail_at, WIDTH)) + load_tail(shift_ptr, tail_at, WIDTH)
    tl.store(y_ptr + at, head.to(y_ptr.dtype.element_ty))
    tl.store(y_ptr + tail_at, tail.to(y_ptr.dtype.element_ty), mask=inside)


def gate_residual_layernorm_modulate_launch(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    new: torch.Tensor,
    y: torch.Tensor,
) -> Launch:
    """Return the launch that fills new and y, (N, T, D) each."""
    rows, tokens, width = x.shape
    head, tail = split(width)
    arguments = {
        "x_ptr": x, "gate_ptr": gate, "h_ptr": h, "shift_ptr": shift, "scale_ptr": scale, "new_ptr": new, "y_ptr": y,
        "gate_stride": gate.stride(0), "shift_stride": shift.stride(0), "scale_stride": scale.stride(0), "eps": eps,
        "TOKENS": tokens, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1),
    }
    kernel = gate_residual_layernorm_modulate_kernel
    return Launch(kernel, rows * tokens, arguments, {"num_warps": warps_for(width)})


@torch.library.custom_op("dit::gate_residual_layernorm_modulate", mutates_args=())
def gate_residual_layernorm_modulate_triton(
    x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', y), each (N, T, D), computed by the kernel; statistics in float32, of x' as it is returned.

    Args:
        x: (N, T, D) contiguous, float32, bfloat16 or float16, on a card.
        gate: (N, D) of x's dtype, dense vectors at any distance.
        h: (N, T, D) contiguous, of x's dtype.
        shift: like gate.
        scale: like gate.
        eps: added to the variance.

    Raises:
        ValueError: a shape, dtype, device or stride is another.
    """
    new, y = gate_residual_layernorm_modulate_fake(x, gate, h, shift, scale, eps)
    gate_residual_layernorm_modulate_launch(x, gate, h, shift, scale, eps, new, y).run()
    return new, y


@gate_residual_layernorm_modulate_triton.register_fake
def gate_residual_layernorm_modulate_fake(
    x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs, not filled yet, after all checks."""
    _check_shapes(x, gate, h, shift, scale)
    checks.alike(x=x, gate=gate, h=h, shift=shift, scale=scale)
    checks.contiguous(x=x, h=h)
    checks.dense_vectors(gate=gate, shift=shift, scale=scale)
    return torch.empty_like(x), torch.empty_like(x)


def gate_residual_layernorm_modulate(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x + gate h, LN(x + gate h) (1 + scale) + shift); see the reference, on a card also the launcher.

    Raises:
        ValueError: h is not x's shape, or gate, shift or scale is not (N, D).
    """
    if takes_kernel(x, gate, h, shift, scale):
        new, y = gate_residual_layernorm_modulate_triton(x, gate, h, shift, scale, eps)
        return new, y
    _check_shapes(x, gate, h, shift, scale)
    return gate_residual_layernorm_modulate_reference(x, gate, h, shift, scale, eps)


def _check_shapes(
    x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
) -> None:
    check_gated(x, gate, h)
    checks.shape("shift", shift, "(N, D)", (x.shape[0], x.shape[2]))
    checks.shape("scale", scale, "(N, D)", (x.shape[0], x.shape[2]))
