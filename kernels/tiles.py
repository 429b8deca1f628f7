"""What the products x Wᵀ share: tiles of the result, which program has which tile, and the sum over K.

A tile says how the work is divided, never what comes out: each element is one accumulator's sum over K from first to
last, in turns of one length a dtype. So a row's bits depend neither on the tile nor on the number of rows, and the tile
may be chosen by that number: few rows want small tiles, or most of the card waits for a few programs.
Nothing here knows tensors, epilogues or launches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dit_serve.kernels.launch import jit, tl


class Tile(NamedTuple):
    """How a kernel divides a product: a tile (M, N) per program, K per turn, warps, pipeline stages."""

    m: int
    n: int
    k: int
    num_warps: int
    num_stages: int
    hip_num_stages: int  # AMD's 64 KiB of shared memory hold two


GROUP = 8  # tiles down a column of tiles before the next, so that neighbours share x and W in L2
PROGRAMS = 2 * 132  # two for each multiprocessor of an H100: one's epilogue hides behind the other's products

_HALF = {
    "128x256": Tile(128, 256, 64, 8, 3, 2),
    "128x128": Tile(128, 128, 64, 8, 3, 2),
    "64x128": Tile(64, 128, 64, 4, 4, 2),
    "64x64": Tile(64, 64, 64, 4, 6, 2),
}
# Products in float32 are plain multiply-adds, whose operands live in registers: a quarter of the tile.
TILES = {
    torch.float32: {"64x64": Tile(64, 64, 16, 4, 3, 2)},
    torch.bfloat16: _HALF,
    torch.float16: _HALF,
    # As many bytes a turn. The tensor cores' sums and the float32 ones beside them leave no registers for 128 x 256.
    torch.float8_e4m3fn: {name: tile._replace(k=128) for name, tile in _HALF.items() if name != "128x256"},
}
_LARGEST_FIRST = ("128x128", "64x128", "64x64")
DEFAULTS: dict[torch.dtype, tuple[str, ...]] = {
    torch.float32: _LARGEST_FIRST[2:],
    torch.bfloat16: _LARGEST_FIRST,
    torch.float16: _LARGEST_FIRST,
    torch.float8_e4m3fn: _LARGEST_FIRST[1:],  # on an H200 64 x 128 was the faster one, even for 16384 rows
}


def tile_for(dtype: torch.dtype, rows: int, out: int) -> str:
    """Return the name of the tile that a product takes unless it is asked for another.

    The largest of its dtype's DEFAULTS that makes PROGRAMS programs of the result, else the smallest. DiT-XL/2's
    outputs 1152, 3456 and 4608 are whole tiles of 128, and K = 1152 or 4608 whole turns of 64. kernels/RESOURCES.md
    shows what tiles cost.

    Args:
        dtype: of the operands.
        rows: N·T; a trace's symbolic number is not asked for its value, because nothing is launched there.
        out: O.
    """
    if isinstance(rows, int):  # a torch.SymInt is none
        for name in DEFAULTS[dtype]:
            tile = TILES[dtype][name]
            if -(-rows // tile.m) * -(-out // tile.n) >= PROGRAMS:
                return name
    return DEFAULTS[dtype][-1]


def named_tile(dtype: torch.dtype, name: str) -> Tile:
    """Return a dtype's tile by its name.

    Raises:
        ValueError: it has none of that name.
    """
    if name not in TILES[dtype]:
        raise ValueError(f"tile must be one of {', '.join(TILES[dtype])} for {dtype}, got {name!r}")
    return TILES[dtype][name]


@jit()
def operands(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, rows, OUT: tl.constexpr, K: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):
    """Return, of the program's tile: pointers to the first turn of x (N·T, K) and of the weight (O, K); row; column; n,
    the column before it wraps; and which elements are inside.

    Tiles are numbered down a GROUP of them before the next column. Rows and columns beyond the edge wrap round, so that
    the turns' loads need no mask there; they are not stored.
    """
    COLUMN_TILES: tl.constexpr = (OUT + BLOCK_N - 1) // BLOCK_N
    tile = tl.program_id(0)
    first = tile // (GROUP * COLUMN_TILES) * GROUP
    in_group = tl.minimum(tl.cdiv(rows, BLOCK_M) - first, GROUP)
    within = tile % (GROUP * COLUMN_TILES)
    m = (first + within % in_group) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = within // in_group * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    row = (m % rows).to(tl.int64)
    column = (n % OUT).to(tl.int64)
    x_ptrs = x_ptr + row[:, None] * K + k[None, :]
    weight_ptrs = weight_ptr + column[:, None] * K + k[None, :]
    return x_ptrs, weight_ptrs, row, column, n, (m[:, None] < rows) & (n[None, :] < OUT)


@jit()
def sum_over_k(  # type: ignore[no-untyped-def]
    x_ptrs, weight_ptrs, K: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    IMPRECISE: tl.constexpr = 0,
):
    """Return the float32 sums over K elements from pointers to the first turn (BLOCK_M or BLOCK_N, BLOCK_K).

    IMPRECISE, for float8 alone: after how many elements a partial sum of the tensor cores is added in float32.
    """
    k = tl.arange(0, BLOCK_K)
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in tl.range(0, K, BLOCK_K):
        if K % BLOCK_K == 0:
            x = tl.load(x_ptrs + start)
            weight = tl.load(weight_ptrs + start)
        else:
            x = tl.load(x_ptrs + start, mask=k[None, :] < K - start, other=0.0)
            weight = tl.load(weight_ptrs + start, mask=k[None, :] < K - start, other=0.0)
        sums = tl.dot(x, tl.trans(weight), sums, input_precision="ieee", max_num_imprecise_acc=IMPRECISE)
    return sums
