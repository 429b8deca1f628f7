"""A linear layer whose operands are float8_e4m3fn, each row of them with a scale: y = (x Wᵀ) · scale_x · scale_w + b.

What each row's scale is and how a row is rounded: kernels/float8.py. The tensor cores of sm_90 keep a sum of float8
products to some 14 bits (DeepSeek-V3, arXiv 2412.19437, section 3.3.2); so their sum of one turn, 128 elements, is
added in float32, as is done there. A turn is as long in every tile, so that a row has the same bits in all of them and
in any batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.tiles import GROUP, named_tile, operands, sum_over_k, tile_for


def linear_float8_reference(
    x: torch.Tensor,
    x_scales: torch.Tensor,
    weight: torch.Tensor,
    weight_scales: torch.Tensor,
    bias: torch.Tensor,
    tile: str | None = None,
) -> torch.Tensor:
    """Return (x Wᵀ) · scale_x · scale_w + b, (N, T, O), in b's dtype, summed in float32.

    Args:
        x: (N, T, K) float8_e4m3fn.
        x_scales: (N, T) float32.
        weight: (O, K) float8_e4m3fn.
        weight_scales: (O,) float32.
        bias: (O,).
        tile: how the kernel divides the product, a name in kernels.tiles.TILES; None: as `tile_for` says. No bit of
            the result depends on it.
    """
    _sizes(x, x_scales, weight, weight_scales, bias)
    wide = x_scales.dtype
    y = F.linear(x.to(wide), weight.to(wide)) * x_scales[..., None] * weight_scales
    return (y + bias).to(bias.dtype)


@jit(unspecialised=("rows",))
def linear_float8_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N·T, K) float8
    x_scales_ptr,  # (N·T,) float32
    weight_ptr,  # (O, K) float8
    weight_scales_ptr,  # (O,) float32
    bias_ptr,  # (O,)
    y_ptr,  # (N·T, O)
    rows,  # N·T
    OUT: tl.constexpr,
    K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of y, summing over K from first to last."""
    x_ptrs, weight_ptrs, row, column, n, inside = operands(
        x_ptr, weight_ptr, rows, OUT, K, BLOCK_M, BLOCK_N, BLOCK_K, GROUP
    )
    y = sum_over_k(x_ptrs, weight_ptrs, K, BLOCK_M, BLOCK_N, BLOCK_K, IMPRECISE=BLOCK_K)
    y *= tl.load(x_scales_ptr + row)[:, None]
    y = tl.fma(y, tl.load(weight_scales_ptr + column)[None, :], tl.load(bias_ptr + column).to(tl.float32)[None, :])
    tl.store(y_ptr + row[:, None] * OUT + n[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


def linear_float8_launch(
    x: torch.Tensor,
    x_scales: torch.Tensor,
    weight: torch.Tensor,
    weight_scales: torch.Tensor,
    bias: torch.Tensor,
    tile: str | None = None,
) -> Launch:
    """Return the launch for contiguous tensors, on a card of compute capability 8.9 or more."""
    sequences, tokens, size, out = _sizes(x, x_scales, weight, weight_scales, bias)
    tensors = {"x": x, "x_scales": x_scales, "weight": weight, "weight_scales": weight_scales, "bias": bias}
    checks.device(**tensors)
    checks.dtype(torch.float8_e4m3fn, x=x, weight=weight)
    checks.dtype(torch.float32, x_scales=x_scales, weight_scales=weight_scales)
    checks.floating(bias=bias)
    checks.contiguous(**tensors)
    y = bias.new_empty(sequences, tokens, out)
    rows = sequences * tokens
    blocks = named_tile(x.dtype, tile_for(x.dtype, rows, out) if tile is None else tile)
    arguments = {
        "x_ptr": x, "x_scales_ptr": x_scales, "weight_ptr": weight, "weight_scales_ptr": weight_scales,
        "bias_ptr": bias, "y_ptr": y, "rows": rows, "OUT": out, "K": size,
        "BLOCK_M": blocks.m, "BLOCK_N": blocks.n, "BLOCK_K": blocks.k, "GROUP": GROUP,
    }
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    programs = -(-rows // blocks.m) * -(-out // blocks.n)
    return Launch(y, linear_float8_kernel, programs, arguments, options, least_capability=FLOAT8_CAPABILITY)


linear_float8_triton = torch_op(linear_float8_reference, linear_float8_launch)


def linear_float8(
    x: torch.Tensor, x_scales: torch.Tensor, weight: torch.Tensor, weight_scales: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return (x Wᵀ) · scale_x · scale_w + b, (N, T, O), in b's dtype: see `linear_float8_reference`.

    The kernel runs on cards of compute capability 8.9 or more, elsewhere the definition.

    Raises:
        ValueError: a shape does not fit, or the kernel cannot take a dtype or a stride.
    """
    if takes_kernel(bias, x_scales, weight_scales, least=FLOAT8_CAPABILITY):
        return linear_float8_triton(x, x_scales, weight, weight_scales, bias)
    return linear_float8_reference(x, x_scales, weight, weight_scales, bias)


def _sizes(
    x: torch.Tensor, x_scales: torch.Tensor, weight: torch.Tensor, weight_scales: torch.Tensor, bias: torch.Tensor
) -> tuple[int, ...]:
    """Return N, T, K and O."""
    return checks.sizes(
        x=(x, "NTK"), x_scales=(x_scales, "NT"), weight=(weight, "OK"), weight_scales=(weight_scales, "O"),
        bias=(bias, "O"),
    )
