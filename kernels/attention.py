"""Self-attention straight out of the fused projection: qkv (N, T, 3D) in, (N, T, D) out.

"Attention Is All You Need" (arXiv 1706.03762), eq. 1, without mask or dropout: every token of an image sees every
other one. The kernel keeps running maxima and sums over blocks of keys (arXiv 2205.14135, algorithm 1).

DiT-XL/2's head has 72 numbers, which libraries pad to 96 or 128; here it is 64 + 16 (kernels.rows), 80 of them
multiplied. No copy splits or joins heads: a head is a strided window of qkv and of the output.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl
from dit_serve.kernels.rows import split

LARGEST_HEAD = 128  # beyond it a block of queries and its sums no longer fit in the registers


class Blocks(NamedTuple):
    """How the kernel cuts the work: queries a program, keys a turn, warps, and turns whose keys are on their way."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int
    hip_num_stages: int


def blocks_for(tokens: int, dtype: torch.dtype) -> Blocks:
    """Return the blocks for rows of T tokens; kernels/RESOURCES.md shows what they cost.

    At T = 256 the four turns' K and V, one head's whole, are in shared memory or on their way there at once (80 KiB
    beside the queries), and two programs of 8 warps share a multiprocessor. Scores of all 256 keys at a time would
    save the rescaling, but cost 246 registers on sm_90, half of these warps, and spill on sm_80. AMD has 64 KiB.
    Products in float32 are plain multiply-adds whose operands live in registers: half the block.
    """
    if tokens <= 16:
        return Blocks(16, 16, 4 if dtype == torch.float32 else 1, 1, 1)
    if dtype == torch.float32:
        return Blocks(64, 32, 8, 2, 2)
    if tokens <= 64:
        return Blocks(64, 64, 4, 1, 1)
    return Blocks(128, 64, 8, 4 if tokens <= 256 else 3, 2)


def attention_reference(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return softmax(q kᵀ / √d) v, heads side by side again, (N, T, D).

    On the CPU all of it is float32: torch's kernel for 16 bits is slower there, and rounds the softmax to them.

    Args:
        qkv: (N, T, 3D), the queries of all heads, then the keys, then the values; d = D / num_heads.
        num_heads: heads that D splits into.
    """
    rows, tokens, width = qkv.shape
    wide = qkv.float() if qkv.device.type == "cpu" and qkv.dtype.itemsize == 2 else qkv
    q, k, v = wide.view(rows, tokens, 3, num_heads, width // 3 // num_heads).permute(2, 0, 3, 1, 4)  # (N, heads, T, d)
    y = F.scaled_dot_product_attention(q, k, v)
    return y.transpose(1, 2).reshape(rows, tokens, width // 3).to(qkv.dtype)


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

    A mask that can be seen to hold is left out: the loads of DiT-XL/2's first 64 columns have none.
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

    No scores are ever written: each turn rescales what the turns before it summed, in float32, to the new maximum.
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
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(weights, 1)
        v = load_window(q_ptr + 2 * WIDTH, key, at, STRIDE, TOKENS, SIZE, KEYS, HEAD)
        weights = weights.to(v.dtype)
        sums = tl.dot(weights, v, sums * fade[:, None], input_precision="ieee")
        if TAIL:
            v_tail = load_window(q_ptr + 2 * WIDTH, key, tail_at, STRIDE, TOKENS, SIZE, KEYS, HEAD + TAIL)
            sums_tail = tl.dot(weights, v_tail, sums_tail * fade[:, None], input_precision="ieee")
        highest = higher

    y_ptrs = y_ptr + row * (TOKENS * WIDTH) + head * SIZE + token[:, None] * WIDTH
    inside = token[:, None] < TOKENS
    y = (sums / total[:, None]).to(y_ptr.dtype.element_ty)
    tl.store(y_ptrs + at[None, :], y, mask=inside & (at[None, :] < SIZE))
    if TAIL:
        y_tail = (sums_tail / total[:, None]).to(y_ptr.dtype.element_ty)
        tl.store(y_ptrs + tail_at[None, :], y_tail, mask=inside & (tail_at[None, :] < SIZE))


def attention_launch(qkv: torch.Tensor, num_heads: int, y: torch.Tensor) -> Launch:
    """Return the launch that fills y, (N, T, D)."""
    rows, tokens, width = y.shape
    size = width // num_heads
    head, tail = split(size, least=16)  # a matrix product's side is at least 16
    blocks = blocks_for(tokens, qkv.dtype)
    arguments = {
        "qkv_ptr": qkv, "y_ptr": y, "exponent_scale": math.log2(math.e) / math.sqrt(size),
        "TOKENS": tokens, "HEADS": num_heads, "SIZE": size, "HEAD": head, "TAIL": tail,
        "QUERIES": blocks.queries, "KEYS": blocks.keys,
    }
    programs = rows * num_heads * -(-tokens // blocks.queries)
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    return Launch(attention_kernel, programs, arguments, options, {"num_stages": blocks.hip_num_stages})


@torch.library.custom_op("dit::attention", mutates_args=())
def attention_triton(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return the attention's output computed by the kernel, softmax and sums in float32, (N, T, D).

    Args:
        qkv: (N, T, 3D) contiguous, float32, bfloat16 or float16, on a card.
        num_heads: heads that D splits into, of at most 128 numbers each.

    Raises:
        ValueError: a shape, dtype, device or stride is another.
    """
    y: torch.Tensor = attention_fake(qkv, num_heads)
    attention_launch(qkv, num_heads, y).run()
    return y


@attention_triton.register_fake
def attention_fake(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return the output, not filled yet, after all checks."""
    _check_shape(qkv, num_heads)
    checks.alike(qkv=qkv)
    checks.contiguous(qkv=qkv)
    rows, tokens, width = qkv.shape
    if width // 3 // num_heads > LARGEST_HEAD:
        raise ValueError(f"a head must have at most {LARGEST_HEAD} numbers, got {width // 3 // num_heads}")
    return qkv.new_empty(rows, tokens, width // 3)


def attention(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return the attention's output, (N, T, D); see `attention_reference`, on a card also `attention_triton`.

    Raises:
        ValueError: the last side of qkv does not split into three times num_heads.
    """
    if takes_kernel(qkv) and qkv.shape[-1] <= 3 * num_heads * LARGEST_HEAD:
        y: torch.Tensor = attention_triton(qkv, num_heads)
        return y
    _check_shape(qkv, num_heads)
    return attention_reference(qkv, num_heads)


def _check_shape(qkv: torch.Tensor, num_heads: int) -> None:
    _, _, width = checks.tokens("qkv", qkv, "(N, T, 3D)")
    if num_heads < 1 or width % (3 * num_heads):
        raise ValueError(f"qkv must be (N, T, 3D) with D a multiple of {num_heads} heads, got {tuple(qkv.shape)}")
