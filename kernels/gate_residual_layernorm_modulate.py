"""Gated residual and the modulated norm that follows it, in one pass: x' = x + gate h, y = LN(x') (1 + scale) + shift.

In a chain of adaLN-Zero blocks (arXiv 2212.09748, section 3.2) every gated residual is followed by a modulated norm:
the MLP's after the attention, the next block's after the MLP, the final layer's after the last block. So this op does
all norms of the network but the first. It reads x and h and writes x' and y: four passes over (N, T, D) where two ops
would take five, in half the launches. A second op of the same kernel leaves y in eight-bit floats.
"""

from __future__ import annotations

import torch

from dit_serve.kernels import checks, float8
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, LEAST_CAPABILITY, Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.layernorm_modulate import (
    check_vectors,
    layernorm_modulate_float8_reference,
    layernorm_modulate_reference,
    modulate_and_store,
    vector_sizes,
)
from dit_serve.kernels.rows import load_tail, normalise, split, warps_for


def gate_residual_layernorm_modulate_reference(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', y), each (N, T, D): the sum, and its modulated norm.

    Args:
        x: (N, T, D), the residual stream.
        gate: (R, D), applied to every token of its row.
        h: (N, T, D), what the branch computed.
        shift: (R, D), of the norm that follows.
        scale: (R, D), likewise.
        eps: added to the variance.
        rows: (N,) int64, which row of gate, shift and scale belongs to x's row n; None where that is row n, R = N.
    """
    x = _add_branch(x, gate, h, rows)
    return x, layernorm_modulate_reference(x, shift, scale, eps, rows)


def gate_residual_layernorm_modulate_float8_reference(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x' and, in place of y, its (values (N, T, D) float8_e4m3fn, scales (N, T) float32)."""
    x = _add_branch(x, gate, h, rows)
    return x, *layernorm_modulate_float8_reference(x, shift, scale, eps, rows)


@jit()
def gate_residual_layernorm_modulate_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, T, D)
    gate_ptr,  # (R, D), rows gate_stride apart
    h_ptr,  # (N, T, D)
    shift_ptr,  # (R, D), rows shift_stride apart
    scale_ptr,  # (R, D), rows scale_stride apart
    rows_ptr,  # (N,) int64, or None
    new_ptr,  # (N, T, D)
    y_ptr,  # (N, T, D), float8_e4m3fn where there are scales
    scales_ptr,  # (N, T) float32, or None
    gate_stride,
    shift_stride,
    scale_stride,
    eps,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
):
    """One program does one token. The norm is of x' as rounded for the store, as if x' had been read back."""
    token = tl.program_id(0).to(tl.int64)
    row = token // TOKENS
    if rows_ptr is not None:
        row = tl.load(rows_ptr + row)
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL)
    x_ptr += token * WIDTH
    h_ptr += token * WIDTH
    new_ptr += token * WIDTH
    y_ptr += token * WIDTH
    gate_ptr += row * gate_stride
    shift_ptr += row * shift_stride
    scale_ptr += row * scale_stride
    head = tl.load(x_ptr + at).to(tl.float32)
    tail = load_tail(x_ptr, tail_at, WIDTH)
    head += tl.load(gate_ptr + at).to(tl.float32) * tl.load(h_ptr + at).to(tl.float32)
    tail += load_tail(gate_ptr, tail_at, WIDTH) * load_tail(h_ptr, tail_at, WIDTH)
    new_head = head.to(new_ptr.dtype.element_ty)
    new_tail = tail.to(new_ptr.dtype.element_ty)
    tl.store(new_ptr + at, new_head)
    tl.store(new_ptr + tail_at, new_tail, mask=tail_at < WIDTH)
    head, tail = normalise(new_head.to(tl.float32), new_tail.to(tl.float32), tail_at, eps, WIDTH)
    modulate_and_store(head, tail, shift_ptr, scale_ptr, y_ptr, scales_ptr, token, at, tail_at, WIDTH)


def gate_residual_layernorm_modulate_launch(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> Launch:
    """Return the launch for x and h contiguous, and vectors dense but at any distance.

    What `rows` holds is not read back to be checked: it must be rows of gate, shift and scale.
    """
    return _launch(x, gate, h, shift, scale, eps, rows, torch.empty_like(x), None)


def gate_residual_layernorm_modulate_float8_launch(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> Launch:
    """Return the launch of the kernel that quantises, on the terms of `gate_residual_layernorm_modulate_launch`."""
    return _launch(x, gate, h, shift, scale, eps, rows, *float8.empty_like(x))


gate_residual_layernorm_modulate_triton = torch_op(
    gate_residual_layernorm_modulate_reference, gate_residual_layernorm_modulate_launch
)
gate_residual_layernorm_modulate_float8_triton = torch_op(
    gate_residual_layernorm_modulate_float8_reference, gate_residual_layernorm_modulate_float8_launch
)


def gate_residual_layernorm_modulate(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x + gate h, LN(x + gate h) (1 + scale) + shift); see `_reference`, on a card also `_launch`.

    Raises:
        ValueError: h is not x's shape; a vector is not (N, D), or (R, D) with rows; rows is not (N,); or the kernel
            cannot take a dtype, device or stride.
        IndexError: off a card, rows holds what is no row of the vectors. The kernel does not look.
    """
    is_taken = takes_kernel(x, gate, h, shift, scale)
    op = gate_residual_layernorm_modulate_triton if is_taken else gate_residual_layernorm_modulate_reference
    return op(x, gate, h, shift, scale, eps, rows)


def gate_residual_layernorm_modulate_float8(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x' and (values (N, T, D) float8_e4m3fn, scales (N, T)): y quantised before it is rounded to x's dtype.

    The kernel runs on cards of compute capability 8.9 or more, elsewhere the definition.

    Raises:
        ValueError: as `gate_residual_layernorm_modulate` does.
        IndexError: likewise.
    """
    if takes_kernel(x, gate, h, shift, scale, least=FLOAT8_CAPABILITY):
        return gate_residual_layernorm_modulate_float8_triton(x, gate, h, shift, scale, eps, rows)
    return gate_residual_layernorm_modulate_float8_reference(x, gate, h, shift, scale, eps, rows)


def _add_branch(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """Return x + gate h, (N, T, D)."""
    checks.sizes(x=(x, "NTD"), h=(h, "NTD"))
    vector_sizes(x, rows, gate=gate)
    return torch.addcmul(x, (gate if rows is None else gate[rows]).unsqueeze(1), h)


def _launch(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None,
    y: torch.Tensor,
    scales: torch.Tensor | None,
) -> Launch:
    """Return the launch that fills a new x', y, and scales where there are some."""
    checks.sizes(x=(x, "NTD"), h=(h, "NTD"))
    count, tokens, width = vector_sizes(x, rows, gate=gate, shift=shift, scale=scale)
    check_vectors(x, rows, gate=gate, shift=shift, scale=scale)
    checks.alike(x=x, h=h)
    checks.contiguous(x=x, h=h)
    new = torch.empty_like(x)
    head, tail = split(width)
    arguments = {
        "x_ptr": x, "gate_ptr": gate, "h_ptr": h, "shift_ptr": shift, "scale_ptr": scale, "rows_ptr": rows,
        "new_ptr": new, "y_ptr": y, "scales_ptr": scales,
        "gate_stride": gate.stride(0), "shift_stride": shift.stride(0), "scale_stride": scale.stride(0), "eps": eps,
        "TOKENS": tokens, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1),
    }
    kernel = gate_residual_layernorm_modulate_kernel
    options = {"num_warps": warps_for(width)}
    outputs, least = ((new, y), LEAST_CAPABILITY) if scales is None else ((new, y, scales), FLOAT8_CAPABILITY)
    return Launch(outputs, kernel, count * tokens, arguments, options, least_capability=least)
