"""Linear layer and the activation after it: y = epilogue(x Wᵀ + b).

Epilogues: "none", and "gelu_tanh", the MLP's activation (arXiv 1606.08415, the tanh form).

The kernel is batch-invariant: its tiles and the order in which it sums over K depend on the layer alone, never on the
number of rows, and K is not split between programs. So a row's result is bitwise the same alone and in any batch,
which a BLAS that picks a kernel by the shape of the batch does not promise. `linear` takes the BLAS unless it is asked
for batch invariance; benchmarks/bench_kernels.py compares the two.

On the CPU, where a separate pass for GELU costs half as much as the product before it, oneDNN fuses the two. There a
row's result does not depend on the number of rows if that is a multiple of 16: tests hold the libraries to it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op, wants_gradient

EPILOGUES = ("none", "gelu_tanh")


class Tile(NamedTuple):
    """How the kernel divides the product: a tile (M, N) per program, K per iteration, warps, pipeline stages."""

    m: int
    n: int
    k: int
    num_warps: int
    num_stages: int
    hip_num_stages: int


def tile_for(dtype: torch.dtype) -> Tile:
    """Return the tile of a layer; kernels/RESOURCES.md shows what it costs.

    DiT-XL/2's outputs 1152, 3456 and 4608 are whole tiles of 128, and K = 1152 or 4608 whole iterations of 64. Two
    programs of eight warps share a multiprocessor of sm_90, so that one's epilogue hides behind the other's products.
    AMD's 64 KiB of shared memory hold two stages. Products in float32 are plain multiply-adds, whose operands live in
    registers: a quarter of the tile.
    """
    if dtype == torch.float32:
        return Tile(64, 64, 16, 4, 3, 2)
    return Tile(128, 128, 64, 8, 3, 2)


def linear_reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str = "none"
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O).

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: "none" or "gelu_tanh".
    """
    _sizes(x, weight, bias, epilogue)
    y = F.linear(x, weight, bias)
    return F.gelu(y, approximate="tanh") if epilogue == "gelu_tanh" else y


def linear_gelu_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return GELU(x Wᵀ + b), (N, T, O), by oneDNN, which applies the activation while the product is in the cache.

    On the CPU, float32 or bfloat16; arguments as in `linear_reference`.
    """
    _sizes(x, weight, bias, "gelu_tanh")
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return y


def takes_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> bool:
    """Return whether `linear_gelu_onednn` can: on the CPU, in a dtype it has here, with nothing to differentiate.

    torch has oneDNN's fused products for its compiler alone: another build or version may lack them.
    """
    if x.device.type != "cpu" or wants_gradient(x, weight, bias) or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@jit()
def gelu_tanh(x):  # type: ignore[no-untyped-def]
    """Return x Φ(x) by the tanh form; (1 + tanh u) / 2 is the logistic function of 2u."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))  # 2 √(2/π), and the paper's constant


@jit(unspecialised=("rows",))
def linear_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N·T, K)
    weight_ptr,  # (O, K)
    bias_ptr,  # (O,)
    y_ptr,  # (N·T, O)
    rows,  # N·T
    OUT: tl.constexpr,
    K: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of y, summing over K from first to last.

    Rows and columns beyond the edge wrap round, so the loop's loads need no mask there; they are not stored.
    Programs go down GROUP tiles before the next column of tiles, so that neighbours share x and W in L2.
    """
    COLUMN_TILES: tl.constexpr = (OUT + BLOCK_N - 1) // BLOCK_N
    row_tiles = tl.cdiv(rows, BLOCK_M)
    first = tl.program_id(0) // (GROUP * COLUMN_TILES) * GROUP
    in_group = tl.minimum(row_tiles - first, GROUP)
    within = tl.program_id(0) % (GROUP * COLUMN_TILES)
    m = (first + within % in_group) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = within // in_group * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    row = (m % rows).to(tl.int64)
    column = (n % OUT).to(tl.int64)
    x_ptrs = x_ptr + row[:, None] * K + k[None, :]
    weight_ptrs = weight_ptr + column[:, None] * K + k[None, :]

    y = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in tl.range(0, K, BLOCK_K):
        if K % BLOCK_K == 0:
            x = tl.load(x_ptrs + start)
            weight = tl.load(weight_ptrs + start)
        else:
            x = tl.load(x_ptrs + start, mask=k[None, :] < K - start, other=0.0)
            weight = tl.load(weight_ptrs + start, mask=k[None, :] < K - start, other=0.0)
        y = tl.dot(x, tl.trans(weight), y, input_precision="ieee")

    y += tl.load(bias_ptr + column).to(tl.float32)[None, :]
    inside = (m[:, None] < rows) & (n[None, :] < OUT)
    at = row[:, None] * OUT + n[None, :]
    if GELU:
        y = gelu_tanh(y)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


def linear_launch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str = "none") -> Launch:
    """Return the launch for contiguous tensors of one dtype."""
    sequences, tokens, size, out = _sizes(x, weight, bias, epilogue)
    checks.alike(x=x, weight=weight, bias=bias)
    checks.contiguous(x=x, weight=weight, bias=bias)
    y = x.new_empty(sequences, tokens, out)
    rows, tile = sequences * tokens, tile_for(x.dtype)
    arguments = {
        "x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "y_ptr": y,
        "rows": rows, "OUT": out, "K": size, "GELU": epilogue == "gelu_tanh",
        "BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_K": tile.k, "GROUP": 8,
    }
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    programs = -(-rows // tile.m) * -(-out // tile.n)
    return Launch(y, linear_kernel, programs, arguments, options, {"num_stages": tile.hip_num_stages})


linear_triton = torch_op(linear_reference, linear_launch)


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    *,
    batch_invariant: bool = False,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O); see `linear_reference`, on a card and batch-invariant `linear_launch`.

    On the CPU GELU is fused into the product where oneDNN can.

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: one of EPILOGUES.
        batch_invariant: on a card take the kernel, whose rows do not depend on how many there are, not the BLAS.

    Raises:
        ValueError: a shape does not fit, the epilogue is none of EPILOGUES, or the kernel cannot take a stride.
    """
    if batch_invariant and takes_kernel(x, weight, bias):
        return linear_triton(x, weight, bias, epilogue)
    if epilogue == "gelu_tanh" and takes_onednn(x, weight, bias):
        return linear_gelu_onednn(x, weight, bias)
    return linear_reference(x, weight, bias, epilogue)


def _sizes(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> tuple[int, ...]:
    """Return N, T, K and O of a product with a known epilogue."""
    if epilogue not in EPILOGUES:
        raise ValueError(f"epilogue must be one of {', '.join(EPILOGUES)}, got {epilogue!r}")
    return checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"))
