"""Layer norm followed by a per-row shift and scale: y = LN(x) (1 + scale) + shift.

The adaptive layer norm of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3.2, adaLN). The
norm has no affine parameters of its own: shift and scale come from the conditioning, one pair a row. A second op of the
same kernel leaves y in eight-bit floats, for a product that multiplies those.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks, float8
from dit_serve.kernels.float8 import quantise_reference, store_quantised
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, LEAST_CAPABILITY, Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.rows import load_tail, normalise, split, warps_for


def layernorm_modulate_reference(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D) in x's dtype.

    Args:
        x: (N, T, D).
        shift: (R, D), added to every token of its row.
        scale: (R, D), zero leaves the normalised value as it is.
        eps: added to the variance.
        rows: (N,) int64, which row of shift and scale belongs to x's row n; None where that is row n, R = N.
    """
    vector_sizes(x, rows, shift=shift, scale=scale)
    if rows is not None:
        shift, scale = shift[rows], scale[rows]
    normed = F.layer_norm(x, (x.shape[-1],), eps=eps)
    return torch.addcmul(shift.unsqueeze(1), normed, 1 + scale.unsqueeze(1))


def layernorm_modulate_float8_reference(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `layernorm_modulate_reference` in float32 as (values (N, T, D) float8_e4m3fn, scales (N, T) float32)."""
    y = layernorm_modulate_reference(x.float(), shift.float(), scale.float(), eps, rows)
    return quantise_reference(y)


@jit()
def modulate_and_store(  # type: ignore[no-untyped-def]
    head, tail, shift_ptr, scale_ptr, y_ptr, scales_ptr, token, at, tail_at, WIDTH: tl.constexpr
):
    """Modulate a normalised row in its two blocks and store it: where there are scales, with its own in float8."""
    head = head * (1.0 + tl.load(scale_ptr + at).to(tl.float32)) + tl.load(shift_ptr + at).to(tl.float32)
    tail = tail * (1.0 + load_tail(scale_ptr, tail_at, WIDTH)) + load_tail(shift_ptr, tail_at, WIDTH)
    if scales_ptr is None:
        tl.store(y_ptr + at, head.to(y_ptr.dtype.element_ty))
        tl.store(y_ptr + tail_at, tail.to(y_ptr.dtype.element_ty), mask=tail_at < WIDTH)
    else:
        store_quantised(head, tail, y_ptr, scales_ptr + token, at, tail_at, WIDTH)


@jit()
def layernorm_modulate_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, T, D)
    shift_ptr,  # (R, D), rows shift_stride apart
    scale_ptr,  # (R, D), rows scale_stride apart
    rows_ptr,  # (N,) int64, or None
    y_ptr,  # (N, T, D), float8_e4m3fn where there are scales
    scales_ptr,  # (N, T) float32, or None
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
    if rows_ptr is not None:
        row = tl.load(rows_ptr + row)
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL)
    x_ptr += token * WIDTH
    y_ptr += token * WIDTH
    shift_ptr += row * shift_stride
    scale_ptr += row * scale_stride
    head = tl.load(x_ptr + at).to(tl.float32)
    tail = load_tail(x_ptr, tail_at, WIDTH)
    head, tail = normalise(head, tail, tail_at, eps, WIDTH)
    modulate_and_store(head, tail, shift_ptr, scale_ptr, y_ptr, scales_ptr, token, at, tail_at, WIDTH)


def layernorm_modulate_launch(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> Launch:
    """Return the launch for x contiguous, and vectors dense but at any distance, as in a view of (R, 6L + 2, D).

    What `rows` holds is not read back to be checked: it must be rows of shift and scale.
    """
    return _launch(x, shift, scale, eps, rows, torch.empty_like(x), None)


def layernorm_modulate_float8_launch(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> Launch:
    """Return the launch of the kernel that quantises, on the terms of `layernorm_modulate_launch`."""
    return _launch(x, shift, scale, eps, rows, *float8.empty_like(x))


layernorm_modulate_triton = torch_op(layernorm_modulate_reference, layernorm_modulate_launch)
layernorm_modulate_float8_triton = torch_op(layernorm_modulate_float8_reference, layernorm_modulate_float8_launch)


def layernorm_modulate(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Return LN(x) (1 + scale) + shift, (N, T, D); see `layernorm_modulate_reference`, on a card also `_launch`.

    Raises:
        ValueError: shift or scale is not (N, D) for x's N and D, or (R, D) with rows; rows is not (N,); or the kernel
            cannot take a dtype, device or stride.
        IndexError: off a card, rows holds what is no row of shift and scale. The kernel does not look.
    """
    op = layernorm_modulate_triton if takes_kernel(x, shift, scale) else layernorm_modulate_reference
    return op(x, shift, scale, eps, rows)


def layernorm_modulate_float8(
    x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same as (values (N, T, D) float8_e4m3fn, scales (N, T)): quantised before it is rounded to x's dtype.

    The kernel runs on cards of compute capability 8.9 or more, elsewhere the definition.

    Raises:
        ValueError: as `layernorm_modulate` does.
        IndexError: likewise.
    """
    is_taken = takes_kernel(x, shift, scale, least=FLOAT8_CAPABILITY)
    op = layernorm_modulate_float8_triton if is_taken else layernorm_modulate_float8_reference
    return op(x, shift, scale, eps, rows)


def vector_sizes(x: torch.Tensor, rows: torch.Tensor | None, **vectors: torch.Tensor) -> tuple[int, int, int]:
    """Return N, T and D of x (N, T, D) beside vectors (N, D), or (R, D) where `rows` (N,) says which is whose."""
    letters = "ND" if rows is None else "RD"
    index = {} if rows is None else {"rows": (rows, "N")}
    found = checks.sizes(x=(x, "NTD"), **index, **{name: (vector, letters) for name, vector in vectors.items()})
    return found[0], found[1], found[2]


def check_vectors(x: torch.Tensor, rows: torch.Tensor | None, **vectors: torch.Tensor) -> None:
    """Raise ValueError unless a kernel can take the vectors beside x, and their index."""
    checks.alike(x=x, **vectors)
    checks.dense_vectors(**vectors)
    if rows is not None:
        checks.device(x=x, rows=rows)
        checks.dtype(torch.int64, rows=rows)
        checks.contiguous(rows=rows)


def _launch(
    x: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None,
    y: torch.Tensor,
    scales: torch.Tensor | None,
) -> Launch:
    """Return the launch that fills y, and scales where there are some."""
    count, tokens, width = vector_sizes(x, rows, shift=shift, scale=scale)
    check_vectors(x, rows, shift=shift, scale=scale)
    checks.contiguous(x=x)
    head, tail = split(width)
    arguments = {
        "x_ptr": x, "shift_ptr": shift, "scale_ptr": scale, "rows_ptr": rows, "y_ptr": y, "scales_ptr": scales,
        "shift_stride": shift.stride(0), "scale_stride": scale.stride(0), "eps": eps,
        "TOKENS": tokens, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1),
    }
    outputs, least = (y, LEAST_CAPABILITY) if scales is None else ((y, scales), FLOAT8_CAPABILITY)
    options = {"num_warps": warps_for(width)}
    return Launch(
        outputs, layernorm_modulate_kernel, count * tokens, arguments, options, least_capability=least
    )
