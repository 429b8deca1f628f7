"""Self-attention on the output of the fused projection: qkv (N, T, 3D) in, (N, T, D) out.

"Attention Is All You Need" (arXiv 1706.03762), eq. 1, without mask or dropout: every token of an image sees every
other one. The kernel keeps running maxima and sums over blocks of keys (arXiv 2205.14135, algorithm 1).

DiT-XL/2's heads have 72 elements, which libraries pad to 96 or 128; here they are padded to 64 + 16 (kernels.rows).
No copy splits or joins heads: a head is a strided window of qkv and of the output.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op
from dit_serve.kernels.rows import split

LARGEST_HEAD = 128  # beyond it a block of queries and its sums no longer fit in the registers
MULTIPROCESSORS = 132  # of an H100 and an H200


class Blocks(NamedTuple):
    """How the kernel divides the work: queries per program, keys per iteration, warps, pipeline stages."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int
    hip_num_stages: int


def blocks_for(tokens: int, size: int, heads: int, dtype: torch.dtype) -> Blocks:
    """Return the blocks for T tokens; kernels/RESOURCES.md shows what they cost.

    With 128 queries a warp has two of the tensor cores' sums of 64 rows, so that one's softmax runs beside the other's
    product: on an H200 the fastest at T = 256 and 1024, two programs a multiprocessor. Larger heads and masks would
    spill, and take twice the warps. Where half as many queries give each multiprocessor one program at most, they are
    faster, and change no bit. Up to 64 tokens blocks are of 32 keys: of a single block of 64, whose loop is unrolled,
    ptxas 12.8 makes code that reads a register which it never wrote (kernels.resources looks for such). AMD has 64 KiB
    of shared memory. Products in float32 are plain multiply-adds whose operands live in registers: half the block.

    Args:
        tokens: T.
        size: of a head, d.
        heads: of all sequences, N times those of one; a trace's symbolic number is not asked for its value.
        dtype: of qkv.
    """
    if tokens <= 16:
        return Blocks(16, 16, 4 if dtype == torch.float32 else 1, 1, 1)
    if dtype == torch.float32:
        return Blocks(64, 32, 8, 2, 2)
    if tokens <= 64:
        return Blocks(64, 32, 4, 2, 2)
    if isinstance(heads, int) and heads * -(-tokens // 64) <= MULTIPROCESSORS:
        return Blocks(64, 64, 4, 3, 2)
    return Blocks(128, 64, 4 if size <= 80 and tokens % 64 == 0 else 8, 3, 2)


def attention_reference(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return softmax(q kᵀ / √d) v, heads side by side again, (N, T, D).

    On the CPU it is computed in float32: torch's 16-bit kernel is slower there and rounds the softmax to 16 bits.

    Args:
        qkv: (N, T, 3D), the queries of all heads, then the keys, then the values; d = D / num_heads.
        num_heads: heads that D splits into.
    """
    rows, tokens, width = _sizes(qkv, num_heads)
    wide = qkv.float() if qkv.device.type == "cpu" and qkv.dtype.itemsize == 2 else qkv
    q, k, v = wide.view(rows, tokens, 3, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)  # (N, heads, T, d)
    y = F.scaled_dot_product_attention(q, k, v)
    return y.transpose(1, 2).reshape(rows, tokens, width).to(qkv.dtype)


@jit()
def load_window(  # type: ignore[no-untyped-def]
    ptr,
    token,
    at,
    STRIDE: tl.constexpr,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    END: tl.constexpr,
):
    """Return (ROWS, columns `at`) of a head, zeros beyond its tokens and its size; END is the last column plus one.

    Where sizes show that all is inside there is no mask: the loads of DiT-XL/2's first 64 columns have none.
    """
    ptrs = ptr + token[:, None] * STRIDE + at[None, :]
    if TOKENS % ROWS == 0:
        if END <= SIZE:
            return tl.load(ptrs)
        else:
            return tl.load(ptrs, mask=at[None, :] < SIZE, other=0.0)
    else:
        return tl.load(ptrs, mask=(token[:, None] < TOKENS) & (at[None, :] < SIZE), other=0.0)


@jit()
def attention_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr,  # (N, T, 3D)
    y_ptr,  # (N, T, D)
    exponent_scale,  # log2(e) / √d: exp(s / √d) = exp2(exponent_scale s)
    TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,  # d
    HEAD: tl.constexpr,  # d as HEAD + TAIL columns, TAIL 0 where HEAD holds all
    TAIL: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One program computes QUERIES tokens of one head; the programs of a head are neighbours and share K and V in L2.

    Scores are never stored: each iteration rescales the float32 sums of those before it to the new maximum.
    """
    WIDTH: tl.constexpr = HEADS * SIZE
    STRIDE: tl.constexpr = 3 * WIDTH
    BLOCKS: tl.constexpr = (TOKENS + QUERIES - 1) // QUERIES
    block = tl.program_id(0) % BLOCKS
    head = tl.program_id(0) // BLOCKS % HEADS
    row = (tl.program_id(0) // (BLOCKS * HEADS)).to(tl.int64)
    q_ptr = qkv_ptr + row * (TOKENS * STRIDE) + head * SIZE
    token = block * QUERIES + tl.arange(0, QUERIES)
    at = tl.arange(0, HEAD)
    tail_at = HEAD + tl.arange(0, TAIL if TAIL else 1)

    q = load_window(q_ptr, token, at, STRIDE, TOKENS, SIZE, QUERIES, HEAD)
    if TAIL:
        q_tail = load_window(q_ptr, token, tail_at, STRIDE, TOKENS, SIZE, QUERIES, HEAD + TAIL)
        sums_tail = tl.zeros([QUERIES, TAIL], tl.float32)
    sums = tl.zeros([QUERIES, HEAD], tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    highest = tl.full([QUERIES], float("-inf"), tl.float32)
    for first in tl.range(0, TOKENS, KEYS):
        key = first + tl.arange(0, KEYS)
        k = load_window(q_ptr + WIDTH, key, at, STRIDE, TOKENS, SIZE, KEYS, HEAD)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        if TAIL:
            k_tail = load_window(q_ptr + WIDTH, key, tail_at, STRIDE, TOKENS, SIZE, KEYS, HEAD + TAIL)
            scores = tl.dot(q_tail, tl.trans(k_tail), scores, input_precision="ieee")
        if TOKENS % KEYS:
            scores = tl.where(key[None, :] < TOKENS, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1) * exponent_scale)
        weights = tl.exp2(scores * exponent_scale - higher[:, None])
        rescale = tl.exp2(highest - higher)
        total = total * rescale + tl.sum(weights, 1)
        v = load_window(q_ptr + 2 * WIDTH, key, at, STRIDE, TOKENS, SIZE, KEYS, HEAD)
        weights = weights.to(v.dtype)
        sums = tl.dot(weights, v, sums * rescale[:, None], input_precision="ieee")
        if TAIL:
            v_tail = load_window(q_ptr + 2 * WIDTH, key, tail_at, STRIDE, TOKENS, SIZE, KEYS, HEAD + TAIL)
            sums_tail = tl.dot(weights, v_tail, sums_tail * rescale[:, None], input_precision="ieee")
        highest = higher

    y_ptrs = y_ptr + row * (TOKENS * WIDTH) + head * SIZE + token[:, None] * WIDTH
    inside = token[:, None] < TOKENS
    y = (sums / total[:, None]).to(y_ptr.dtype.element_ty)
    tl.store(y_ptrs + at[None, :], y, mask=inside & (at[None, :] < SIZE))
    if TAIL:
        y_tail = (sums_tail / total[:, None]).to(y_ptr.dtype.element_ty)
        tl.store(y_ptrs + tail_at[None, :], y_tail, mask=inside & (tail_at[None, :] < SIZE))


def attention_launch(qkv: torch.Tensor, num_heads: int) -> Launch:
    """Return the launch for qkv contiguous, and heads of at most 128 elements."""
    rows, tokens, width = _sizes(qkv, num_heads)
    checks.alike(qkv=qkv)
    checks.contiguous(qkv=qkv)
    size = width // num_heads
    if size > LARGEST_HEAD:
        raise ValueError(f"a head must have at most {LARGEST_HEAD} elements, got {size}")
    y = qkv.new_empty(rows, tokens, width)
    head, tail = split(size, least=16)  # a matrix product's side is at least 16
    blocks = blocks_for(tokens, size, rows * num_heads, qkv.dtype)
    arguments = {
        "qkv_ptr": qkv, "y_ptr": y, "exponent_scale": math.log2(math.e) / math.sqrt(size),
        "TOKENS": tokens, "HEADS": num_heads, "SIZE": size, "HEAD": head, "TAIL": tail,
        "QUERIES": blocks.queries, "KEYS": blocks.keys,
    }
    programs = rows * num_heads * -(-tokens // blocks.queries)
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    return Launch(y, attention_kernel, programs, arguments, options, {"num_stages": blocks.hip_num_stages})


attention_triton = torch_op(attention_reference, attention_launch)


def attention(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return the attention's output, (N, T, D); see `attention_reference`, on a card also `attention_launch`.

    Raises:
        ValueError: the last side of qkv does not split into three times num_heads, or on a card qkv is not contiguous.
    """
    if takes_kernel(qkv) and qkv.shape[-1] <= 3 * num_heads * LARGEST_HEAD:
        return attention_triton(qkv, num_heads)
    return attention_reference(qkv, num_heads)


def _sizes(qkv: torch.Tensor, num_heads: int) -> tuple[int, int, int]:
    """Return N, T and D of qkv."""
    if qkv.ndim != 3 or num_heads < 1 or qkv.shape[2] % (3 * num_heads):
        raise ValueError(f"qkv must be (N, T, 3D) with D a multiple of {num_heads} heads, got {tuple(qkv.shape)}")
    rows, tokens, width = qkv.shape
    return rows, tokens, width // 3
