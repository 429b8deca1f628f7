"""GELU of a row, and the row in eight-bit floats with its scale: what stands between the two layers of an MLP.

The scale is of a whole row, so the product before cannot apply it to its tiles: GELU moves out of that product's
epilogue to here, where the row is read anyway.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks, float8
from dit_serve.kernels.float8 import quantise_reference, store_quantised
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.linear import gelu_tanh
from dit_serve.kernels.rows import load_tail, split, warps_for


def gelu_float8_reference(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return GELU(h) as (values (N, T, K) float8_e4m3fn, scales (N, T) float32), both steps in float32.

    Args:
        h: (N, T, K), what the MLP's first layer computed. GELU is the tanh form (arXiv 1606.08415).
    """
    checks.sizes(h=(h, "NTK"))
    return quantise_reference(F.gelu(h.float(), approximate="tanh"))


@jit()
def gelu_float8_kernel(  # type: ignore[no-untyped-def]
    h_ptr,  # (N, T, K)
    values_ptr,  # (N, T, K) float8_e4m3fn
    scales_ptr,  # (N, T) float32
    WIDTH: tl.constexpr,  # K
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
):
    """One program does one token."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL)
    h_ptr += token * WIDTH
    head = gelu_tanh(tl.load(h_ptr + at).to(tl.float32))
    tail = gelu_tanh(load_tail(h_ptr, tail_at, WIDTH))
    store_quantised(head, tail, values_ptr + token * WIDTH, scales_ptr + token, at, tail_at, WIDTH)


def gelu_float8_launch(h: torch.Tensor) -> Launch:
    """Return the launch for h contiguous."""
    count, tokens, width = checks.sizes(h=(h, "NTK"))
    checks.alike(h=h)
    checks.contiguous(h=h)
    values, scales = float8.empty_like(h)
    head, tail = split(width)
    arguments = {
        "h_ptr": h, "values_ptr": values, "scales_ptr": scales, "WIDTH": width, "HEAD": head, "TAIL": max(tail, 1)
    }
    options = {"num_warps": warps_for(width)}
    return Launch(
        (values, scales), gelu_float8_kernel, count * tokens, arguments, options, least_capability=FLOAT8_CAPABILITY
    )


gelu_float8_triton = torch_op(gelu_float8_reference, gelu_float8_launch)


def gelu_float8(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return GELU(h) as (values, scales); see `gelu_float8_reference`, on a card of 8.9 or more also `_launch`.

    Raises:
        ValueError: h is not (N, T, K), or the kernel cannot take its dtype or strides.
    """
    return (gelu_float8_triton if takes_kernel(h, least=FLOAT8_CAPABILITY) else gelu_float8_reference)(h)
