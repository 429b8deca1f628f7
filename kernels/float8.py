"""Eight-bit floats, float8_e4m3fn, with one float32 scale a row: what `linear_float8` multiplies.

E4M3 of "FP8 Formats for Deep Learning" (arXiv 2209.05433, table 1): four bits of exponent, three of mantissa, no
infinities, up to 448. A row's scale takes its largest magnitude there, so a value keeps half a unit of its last place:
1/16 of itself, or 2⁻¹⁰ of the scale where it is smaller than 2⁻⁶ of it. Nothing here knows what the rows are.
"""

from __future__ import annotations

import torch

from dit_serve.kernels import checks
from dit_serve.kernels.launch import jit, tl

DTYPE = torch.float8_e4m3fn
LARGEST = 448.0  # of DTYPE
LEAST_SCALE = 2.0**-126  # float32's smallest normal number: a row of zeros has it, and its reciprocal is finite


def quantise_reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (values, scales): x's rows as eight-bit floats, (..., K), of which each was divided by its scale, (...).

    A scale is the row's largest magnitude / 448, float32, positive and finite where the row is finite. Values are
    rounded to nearest even. What is not finite makes values of its own row NaN, and no other's.

    Args:
        x: (..., K), taken as float32.
    """
    x = x.float()
    scales = (x.abs().amax(-1) / LARGEST).clamp(min=LEAST_SCALE)
    return (x * scales.reciprocal().unsqueeze(-1)).to(DTYPE), scales


def quantise_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (values (O, K), scales (O,)) of a layer's weight (O, K): one scale an output; see `quantise_reference`."""
    checks.sizes(weight=(weight, "OK"))
    return quantise_reference(weight)


def empty_like(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (values (..., K), scales (...)) for a kernel to fill from x (..., K)."""
    return torch.empty_like(x, dtype=DTYPE), x.new_empty(x.shape[:-1], dtype=torch.float32)


@jit()
def store_quantised(head, tail, values_ptr, scale_ptr, at, tail_at, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Store a row of float32 in its two blocks, zeros beyond the width, as `quantise_reference` defines.

    A quotient may be one unit of float32 beyond 448. It needs no clamp: up to 464 rounds to 448.
    """
    largest = tl.maximum(tl.max(tl.abs(head)), tl.max(tl.abs(tail)))
    scale = tl.maximum(tl.div_rn(largest, 448.0), 1.1754943508222875e-38)  # LARGEST, LEAST_SCALE
    reciprocal = tl.div_rn(1.0, scale)
    tl.store(values_ptr + at, (head * reciprocal).to(values_ptr.dtype.element_ty))
    tl.store(values_ptr + tail_at, (tail * reciprocal).to(values_ptr.dtype.element_ty), mask=tail_at < WIDTH)
    tl.store(scale_ptr, scale)
