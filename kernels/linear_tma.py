"""The linear layer of kernels/linear.py for Hopper: operands come by the tensor memory accelerator, programs stay.

The accelerator copies a whole block by one instruction of one thread, so that the threads' registers and slots are left
to the products, and a tile of 128 x 256 fits. There are no more programs than run at a time; each takes one tile after
another, which spares the start of a program a tile. The sum over K has the same order as that of kernels/linear.py, and
so has a row the same bits. The blocks are described on the host (Triton's `TensorDescriptor`), which wants K and O in
multiples of 16 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, Tiled, is_interpreted, jit, reaches, tl, torch_op
from dit_serve.kernels.linear import EPILOGUES, gelu_tanh, linear_reference
from dit_serve.kernels.tiles import GROUP, place

ACCELERATOR_CAPABILITY = (9, 0)
MULTIPROCESSORS = 132  # of an H100, where there is no card to ask


class Tile(NamedTuple):
    """How the kernel divides the product: a tile (M, N), K per turn, warps, stages, programs on a multiprocessor."""

    m: int
    n: int
    k: int
    num_warps: int
    num_stages: int
    programs: int


# Of 228 KiB of shared memory and 65,536 registers a multiprocessor. Two programs hide each other's epilogues; where one
# fills it, its own next turns do.
TILES = {
    "128x256": Tile(128, 256, 64, 8, 4, 1),
    "128x128": Tile(128, 128, 64, 8, 3, 2),
    "64x128": Tile(64, 128, 64, 4, 4, 2),
}
FLOAT8_TILES = {  # the tensor cores' sums stand beside the float32 ones (kernels/linear_float8.py)
    "128x128": Tile(128, 128, 128, 8, 4, 1),
    "64x128": Tile(64, 128, 128, 4, 4, 2),
}


def linear_tma_reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str = "none", tile: str = "128x256"
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O).

    Args:
        x: (N, T, K), float16 or bfloat16, K a multiple of 64.
        weight: (O, K), O a multiple of 8.
        bias: (O,).
        epilogue: one of EPILOGUES.
        tile: a name in TILES; no bit of the result depends on it.
    """
    return linear_reference(x, weight, bias, epilogue)


@jit(unspecialised=("rows",))
def linear_tma_kernel(  # type: ignore[no-untyped-def]
    x_blocks,  # of (N·T, K): (BLOCK_M, BLOCK_K)
    weight_blocks,  # of (O, K): (BLOCK_N, BLOCK_K)
    y_blocks,  # of (N·T, O): (BLOCK_M, BLOCK_N / 2)
    x_scales_ptr,  # (N·T,) float32 of float8 operands, or None
    weight_scales_ptr,  # (O,) float32, or None
    bias_ptr,  # (O,)
    rows,  # N·T
    OUT: tl.constexpr,
    K: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    FLAT: tl.constexpr,
):
    """A program computes every tile whose number is its own plus a multiple of how many programs there are.

    What lies beyond the edge is read as zeros and is not stored. Two halves leave one after the other, so that the
    shared memory beside the operands' need hold one. FLAT makes one loop of the tiles and their turns, so that a tile's
    first blocks come while the one before is finished.
    """
    tiles = tl.cdiv(rows, BLOCK_M) * ((OUT + BLOCK_N - 1) // BLOCK_N)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=FLAT):
        m, n = place(tile, rows, OUT, BLOCK_M, BLOCK_N, GROUP)
        y = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for k in tl.range(0, K, BLOCK_K):
            x, weight = x_blocks.load([m, k]), weight_blocks.load([n, k])
            y = tl.dot(x, tl.trans(weight), y, max_num_imprecise_acc=0 if x_scales_ptr is None else BLOCK_K)
        if x_scales_ptr is not None:
            row = m + tl.arange(0, BLOCK_M)
            y *= tl.load(x_scales_ptr + row, mask=row < rows, other=0.0)[:, None]
        halves = tl.permute(tl.reshape(y, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
        left, right = tl.split(halves)
        _store_half(left, y_blocks, weight_scales_ptr, bias_ptr, m, n, OUT, GELU, BLOCK_N // 2)
        _store_half(right, y_blocks, weight_scales_ptr, bias_ptr, m, n + BLOCK_N // 2, OUT, GELU, BLOCK_N // 2)


@jit()
def _store_half(  # type: ignore[no-untyped-def]
    y, y_blocks, weight_scales_ptr, bias_ptr, m, n, OUT: tl.constexpr, GELU: tl.constexpr, COLUMNS: tl.constexpr
):
    column = n + tl.arange(0, COLUMNS)
    bias = tl.load(bias_ptr + column, mask=column < OUT, other=0.0).to(tl.float32)[None, :]
    if weight_scales_ptr is None:
        y += bias
    else:
        y = tl.fma(y, tl.load(weight_scales_ptr + column, mask=column < OUT, other=0.0)[None, :], bias)
    if GELU:
        y = gelu_tanh(y)
    y_blocks.store([m, n], y.to(y_blocks.dtype))


def takes_tma(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether a card's accelerator can take operands of 16 bits or of float8, (N, T, K) and (O, K), there."""
    return x.is_cuda and reaches(x.device, ACCELERATOR_CAPABILITY) and not _unfit(x, weight)


def linear_tma_launch(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str = "none", tile: str = "128x256"
) -> Launch:
    """Return the launch for contiguous tensors of one dtype of 16 bits, on a card of compute capability 9.0 or more."""
    if epilogue not in EPILOGUES:
        raise ValueError(f"epilogue must be one of {', '.join(EPILOGUES)}, got {epilogue!r}")
    sequences, tokens, _, out = checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"))
    checks.alike(x=x, weight=weight, bias=bias)
    checks.contiguous(x=x, weight=weight, bias=bias)
    return blocks_launch(x, weight, bias, x.new_empty(sequences, tokens, out), tile, epilogue)


def blocks_launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    y: torch.Tensor,
    tile: str,
    epilogue: str = "none",
    x_scales: torch.Tensor | None = None,
    weight_scales: torch.Tensor | None = None,
) -> Launch:
    """Return the launch of the kernel that fills y (N, T, O); its caller has looked at shapes, dtypes and layouts.

    Raises:
        ValueError: the tile is none of the dtype's, or the accelerator cannot take the operands.
    """
    if refusal := _unfit(x, weight):
        raise ValueError(refusal)
    tiles = FLOAT8_TILES if x.dtype == torch.float8_e4m3fn else TILES
    if tile not in tiles:
        raise ValueError(f"tile must be one of {', '.join(tiles)}, got {tile!r}")
    blocks = tiles[tile]
    rows, (out, size) = x.shape[0] * x.shape[1], weight.shape
    arguments = {
        "x_blocks": Tiled(x.flatten(0, 1), (blocks.m, blocks.k)), "weight_blocks": Tiled(weight, (blocks.n, blocks.k)),
        "y_blocks": Tiled(y.flatten(0, 1), (blocks.m, blocks.n // 2)),
        "x_scales_ptr": x_scales, "weight_scales_ptr": weight_scales, "bias_ptr": bias,
        "rows": rows, "OUT": out, "K": size, "GELU": epilogue == "gelu_tanh",
        "BLOCK_M": blocks.m, "BLOCK_N": blocks.n, "BLOCK_K": blocks.k, "GROUP": GROUP,
        "FLAT": blocks.programs == 1,
    }
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    programs = blocks.programs * _multiprocessors(x.device)
    if isinstance(rows, int):  # in a trace it is a torch.SymInt, which must not be asked for its value
        programs = min(programs, -(-rows // blocks.m) * -(-out // blocks.n))
    return Launch(y, linear_tma_kernel, programs, arguments, options, least_capability=ACCELERATOR_CAPABILITY)


linear_tma_triton = torch_op(linear_tma_reference, linear_tma_launch)


def _unfit(x: torch.Tensor, weight: torch.Tensor) -> str:
    """Return why the accelerator cannot take operands that the pointers' kernels can, or nothing."""
    size, out = x.shape[-1], weight.shape[0]
    turns = {torch.float16: 64, torch.bfloat16: 64, torch.float8_e4m3fn: 128}
    if x.dtype not in turns:
        return f"x must be one of {', '.join(map(str, turns))}, got {x.dtype}"
    if size % turns[x.dtype]:
        return f"K must be a multiple of {turns[x.dtype]}, got {size}"
    if out % 8:
        return f"O must be a multiple of 8, got {out}"
    return ""


def _multiprocessors(device: torch.device) -> int:
    if is_interpreted() or not torch.cuda.is_available():
        return MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count
