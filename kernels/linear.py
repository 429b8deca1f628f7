"""Linear layer with what follows it in a DiT block: y = epilogue(x Wᵀ + b).

Epilogues: "none"; "gelu_tanh", the MLP's activation (arXiv 1606.08415, the tanh form); "gate_residual", which adds the
product to the residual stream through a gate (arXiv 2212.09748, section 3.2).

The kernel is batch-invariant: its tiles and the order in which it sums over K depend on the layer alone, never on the
number of rows, and K is not split between programs. A row's result is so bitwise the same alone and in any batch,
which a BLAS that picks a kernel by the shape of the batch does not promise. Whether that is worth more than the BLAS
at a few fixed shapes is a question of measurement (benchmarks/bench_kernels.py); until a card has answered it, `linear`
takes the BLAS unless it is asked for batch invariance.

On the CPU, where GELU as a pass of its own costs half as much as the product before it, oneDNN fuses the two. There a
row's result does not depend on the number of rows if that is a multiple of 16: tests hold the libraries to it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.gate_residual import gate_residual_reference
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, wants_gradient

EPILOGUES = ("none", "gelu_tanh", "gate_residual")


class Tile(NamedTuple):
    """How the kernel cuts the product: a tile of (M, N) a program, K a turn, warps, turns on their way."""

    m: int
    n: int
    k: int
    num_warps: int
    num_stages: int
    hip_num_stages: int


def tile_for(dtype: torch.dtype, epilogue: str) -> Tile:
    """Return the tile for a layer; kernels/RESOURCES.md shows what it costs.

    DiT-XL/2's outputs 1152, 3456 and 4608 are whole tiles of 128, and K = 1152 or 4608 whole turns of 64. Two programs
    of eight warps share a multiprocessor of sm_90, so that one's epilogue hides behind the other's products; the gate
    and the residual need too many registers for that in a tile of 128 x 128. AMD's 64 KiB of shared memory hold two
    turns. Products in float32 are plain multiply-adds, whose operands live in registers: a quarter of the tile.
    """
    if dtype == torch.float32:
        return Tile(64, 64, 16, 4, 3, 2)
    return Tile(128, 64, 64, 8, 4, 2) if epilogue == "gate_residual" else Tile(128, 128, 64, 8, 3, 2)


def linear_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    gate: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O).

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: "none", "gelu_tanh", or "gate_residual" for residual + gate (x Wᵀ + b).
        gate: (N, O) for "gate_residual", applied to every token of its row; None otherwise.
        residual: (N, T, O) for "gate_residual"; None otherwise.
    """
    y = F.linear(x, weight, bias)
    if epilogue == "gelu_tanh":
        return F.gelu(y, approximate="tanh")
    return y if gate is None or residual is None else gate_residual_reference(residual, gate, y)


def linear_gelu_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return GELU(x Wᵀ + b), (N, T, O), by oneDNN: the activation is computed while its numbers are in the cache.

    On the CPU, float32 or bfloat16; arguments as in `linear_reference`.
    """
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return y


def takes_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> bool:
    """Return whether `linear_gelu_onednn` serves: on the CPU, in a dtype it has here, with nothing to differentiate.

    torch has oneDNN's fused products for its compiler alone, so they are looked for, not relied on.
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
    gate_ptr,  # (N, O), rows gate_stride apart; None without "gate_residual", like residual
    residual_ptr,  # (N·T, O)
    y_ptr,  # (N·T, O)
    rows,  # N·T
    gate_stride,
    TOKENS: tl.constexpr,
    OUT: tl.constexpr,
    K: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of y, summing over K from first to last.

    Rows and columns beyond the edge wrap round, so the loads of the loop need no mask there; they are not stored.
    Programs walk down GROUP tiles before they step right, so that their x and W meet in L2.
    """
    COLUMN_TILES: tl.constexpr = (OUT + BLOCK_N - 1) // BLOCK_N
    row_tiles = tl.cdiv(rows, BLOCK_M)
    first = tl.program_id(0) // (GROUP * COLUMN_TILES) * GROUP
    in_group = tl.minimum(row_tiles - first, GROUP)
    within = tl.program_id(0) % (GROUP * COLUMN_TILES)
    m = (first + within % in_group) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = within // in_group * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    row = m % rows
    sequence = row // TOKENS
    row = row.to(tl.int64)
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
    if gate_ptr is not None:
        if TOKENS % BLOCK_M == 0:  # the tile is within one sequence: one vector, not one number an element
            gate = tl.load(gate_ptr + tl.min(sequence, 0).to(tl.int64) * gate_stride + column).to(tl.float32)[None, :]
        else:
            gates = gate_ptr + sequence[:, None].to(tl.int64) * gate_stride + column[None, :]
            gate = tl.load(gates).to(tl.float32)
        y = tl.load(residual_ptr + at, mask=inside).to(tl.float32) + gate * y
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


def linear_launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str,
    gate: torch.Tensor | None,
    residual: torch.Tensor | None,
    y: torch.Tensor,
) -> Launch:
    """Return the launch that fills y, (N, T, O)."""
    sequences, tokens, size = x.shape
    out, rows, tile = weight.shape[0], sequences * tokens, tile_for(x.dtype, epilogue)
    arguments = {
        "x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "gate_ptr": gate, "residual_ptr": residual, "y_ptr": y,
        "rows": rows, "gate_stride": 0 if gate is None else gate.stride(0),
        "TOKENS": tokens, "OUT": out, "K": size, "GELU": epilogue == "gelu_tanh",
        "BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_K": tile.k, "GROUP": 8,
    }
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    programs = -(-rows // tile.m) * -(-out // tile.n)
    return Launch(linear_kernel, programs, arguments, options, {"num_stages": tile.hip_num_stages})


@torch.library.custom_op("dit::linear", mutates_args=())
def linear_triton(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    gate: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b) computed by the kernel in float32, rounded once, (N, T, O).

    All tensors are of one dtype (float32, bfloat16 or float16) and on one card, contiguous but for gate, whose vectors
    may be at any distance; shapes as in `linear_reference`.

    Raises:
        ValueError: a shape, dtype, device or stride is another, or the epilogue is none of EPILOGUES.
    """
    y: torch.Tensor = linear_fake(x, weight, bias, epilogue, gate, residual)
    linear_launch(x, weight, bias, epilogue, gate, residual, y).run()
    return y


@linear_triton.register_fake
def linear_fake(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    gate: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the output, not filled yet, after all checks."""
    _check_shapes(x, weight, bias, epilogue, gate, residual)
    dense = {"x": x, "weight": weight, "bias": bias}
    if gate is not None and residual is not None:
        dense["residual"] = residual
        checks.alike(x=x, gate=gate)
        checks.dense_vectors(gate=gate)
    checks.alike(**dense)
    checks.contiguous(**dense)
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    gate: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    batch_invariant: bool = False,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O); see `linear_reference`, on a card and batch-invariant `linear_triton`.

    On the CPU GELU is fused into the product where oneDNN can.

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: one of EPILOGUES.
        gate: (N, O) for "gate_residual".
        residual: (N, T, O) for "gate_residual".
        batch_invariant: on a card take the kernel, whose rows do not depend on how many there are, not the BLAS.

    Raises:
        ValueError: a shape does not fit, or the epilogue is none of EPILOGUES or lacks what it needs.
    """
    if batch_invariant and takes_kernel(x, weight, bias, gate, residual):
        y: torch.Tensor = linear_triton(x, weight, bias, epilogue, gate, residual)
        return y
    _check_shapes(x, weight, bias, epilogue, gate, residual)
    if epilogue == "gelu_tanh" and takes_onednn(x, weight, bias):
        return linear_gelu_onednn(x, weight, bias)
    return linear_reference(x, weight, bias, epilogue, gate, residual)


def _check_shapes(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str,
    gate: torch.Tensor | None,
    residual: torch.Tensor | None,
) -> None:
    rows, tokens, size = checks.tokens("x", x, "(N, T, K)")
    if weight.ndim != 2 or weight.shape[1] != size:
        raise ValueError(f"weight must be (O, K = {size}), got {tuple(weight.shape)}")
    out = weight.shape[0]
    checks.shape("bias", bias, "(O,)", (out,))
    if epilogue not in EPILOGUES:
        raise ValueError(f"epilogue must be one of {', '.join(EPILOGUES)}, got {epilogue!r}")
    is_gated = epilogue == "gate_residual"
    for name, value in (("gate", gate), ("residual", residual)):
        if (value is not None) != is_gated:
            given = "with" if value is not None else "without"
            raise ValueError(f"{name} goes with epilogue gate_residual alone, got {epilogue!r} {given} {name}")
    if gate is not None and residual is not None:
        checks.shape("gate", gate, "(N, O)", (rows, out))
        checks.shape("residual", residual, "(N, T, O)", (rows, tokens, out))
