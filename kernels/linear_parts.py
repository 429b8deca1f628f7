"""A linear layer of many inputs, K in PARTS_OF_K equal parts: together, y = x Wᵀ + b; or apart, the parts' own sums.

A product of few rows and few outputs has too few tiles for a card, and each program a long sum to do: fc2 of DiT-XL/2
has K = 4608 and O = 1152. Apart, each part of K is summed by programs of its own, and who reads the result adds the
parts up, from first to last, then the bias (kernels/gate_residual_layernorm_modulate.py, which reads it anyway).
Together, one program sums all parts of its tile, in the same order, for many rows. Every part is an accumulator of its
own from first to last, so a row has the same bits either way; those of kernels/linear.py, whose sum is one, differ.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, tl, torch_op
from dit_serve.kernels.tiles import GROUP, TILES, Tile, operands, sum_over_k, tile_for

PARTS_OF_K = 4
TILES_OF_A_WHOLE = ("128x128", "64x64")  # the sum of parts stands beside a part's: four warps spill with 64 x 128


def linear_parts_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the sums of x Wᵀ over each part of K, (PARTS_OF_K, N, T, O), float32 for operands of 16 bits.

    Args:
        x: (N, T, K).
        weight: (O, K).
    """
    checks.sizes(x=(x, "NTK"), weight=(weight, "OK"))
    at_least_float32 = torch.promote_types(x.dtype, torch.float32)
    parts = (each.to(at_least_float32).chunk(PARTS_OF_K, dim=-1) for each in (x, weight))
    return torch.stack([F.linear(*part) for part in zip(*parts, strict=True)])


def linear_by_parts_reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return x Wᵀ + b, (N, T, O): the parts of K added from first to last, then the bias, then rounded.

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
    """
    checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"))
    return sum_of_parts(linear_parts_reference(x, weight), bias, x.dtype)


def sum_of_parts(parts: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return parts (P, N, T, O) added from first to last, then the bias (O,), then rounded to dtype."""
    y = parts[0]
    for part in parts[1:]:
        y = y + part
    return (y + bias).to(dtype)


@jit(unspecialised=("rows",))
def linear_parts_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N·T, K)
    weight_ptr,  # (O, K)
    parts_ptr,  # (PARTS, N·T, O) float32
    rows,  # N·T
    OUT: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of one part."""
    tiles = tl.cdiv(rows, BLOCK_M) * ((OUT + BLOCK_N - 1) // BLOCK_N)
    part = tl.program_id(0) // tiles
    x_ptrs, weight_ptrs, row, _, n, inside = operands(
        x_ptr, weight_ptr, tl.program_id(0) % tiles, rows, OUT, K, BLOCK_M, BLOCK_N, BLOCK_K, GROUP
    )
    start = part * (K // PARTS)
    sums = sum_over_k(x_ptrs + start, weight_ptrs + start, K // PARTS, BLOCK_M, BLOCK_N, BLOCK_K)
    at = (part.to(tl.int64) * rows + row)[:, None] * OUT + n[None, :]
    tl.store(parts_ptr + at, sums, mask=inside)


@jit(unspecialised=("rows",))
def linear_by_parts_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N·T, K)
    weight_ptr,  # (O, K)
    bias_ptr,  # (O,)
    y_ptr,  # (N·T, O)
    rows,  # N·T
    OUT: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of y, part after part."""
    SIZE: tl.constexpr = K // PARTS
    x_ptrs, weight_ptrs, row, column, n, inside = operands(
        x_ptr, weight_ptr, tl.program_id(0), rows, OUT, K, BLOCK_M, BLOCK_N, BLOCK_K, GROUP
    )
    y = sum_over_k(x_ptrs, weight_ptrs, SIZE, BLOCK_M, BLOCK_N, BLOCK_K)
    for part in tl.range(1, PARTS):
        y += sum_over_k(x_ptrs + part * SIZE, weight_ptrs + part * SIZE, SIZE, BLOCK_M, BLOCK_N, BLOCK_K)
    y += tl.load(bias_ptr + column).to(tl.float32)[None, :]
    tl.store(y_ptr + row[:, None] * OUT + n[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


def linear_parts_launch(x: torch.Tensor, weight: torch.Tensor) -> Launch:
    """Return the launch for contiguous tensors of one dtype; K must be PARTS_OF_K times a multiple of a tile's turn."""
    sequences, tokens, _, out = checks.sizes(x=(x, "NTK"), weight=(weight, "OK"))
    checks.alike(x=x, weight=weight)
    checks.contiguous(x=x, weight=weight)
    parts = x.new_empty(PARTS_OF_K, sequences, tokens, out, dtype=torch.float32)
    # each part is a product of its own: together they have PARTS_OF_K times the programs
    tile = TILES[x.dtype][tile_for(x.dtype, PARTS_OF_K * sequences * tokens, out)]
    arguments = {"x_ptr": x, "weight_ptr": weight, "parts_ptr": parts}
    programs = PARTS_OF_K * -(-sequences * tokens // tile.m) * -(-out // tile.n)
    return _launch(parts, linear_parts_kernel, programs, arguments, tile)


def linear_by_parts_launch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Launch:
    """Return the launch for contiguous tensors of one dtype; K must be PARTS_OF_K times a multiple of a tile's turn."""
    sequences, tokens, _, out = checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"))
    checks.alike(x=x, weight=weight, bias=bias)
    checks.contiguous(x=x, weight=weight, bias=bias)
    y = x.new_empty(sequences, tokens, out)
    tile = TILES[x.dtype][tile_for(x.dtype, sequences * tokens, out, TILES_OF_A_WHOLE)]
    arguments = {"x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "y_ptr": y}
    programs = -(-sequences * tokens // tile.m) * -(-out // tile.n)
    return _launch(y, linear_by_parts_kernel, programs, arguments, tile)


def _launch(
    output: torch.Tensor, kernel: object, programs: int, tensors: dict[str, torch.Tensor], tile: Tile
) -> Launch:
    (sequences, tokens, size), out = tensors["x_ptr"].shape, output.shape[-1]
    if size % (PARTS_OF_K * tile.k):
        raise ValueError(f"K must be a multiple of {PARTS_OF_K * tile.k}, got {size}")
    arguments = {
        **tensors, "rows": sequences * tokens, "OUT": out, "K": size, "PARTS": PARTS_OF_K,
        "BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_K": tile.k, "GROUP": GROUP,
    }
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    return Launch(output, kernel, programs, arguments, options, {"num_stages": tile.hip_num_stages})


linear_parts_triton = torch_op(linear_parts_reference, linear_parts_launch)
linear_by_parts_triton = torch_op(linear_by_parts_reference, linear_by_parts_launch)
