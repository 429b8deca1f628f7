"""Gated residual: x + gate h, one gate vector a row.

The last step of each branch of an adaLN-Zero block (arXiv 2212.09748, section 3.2): with the gate at zero the block
is the identity. Where a norm follows, gate_residual_layernorm_modulate does both in one pass.
"""

from __future__ import annotations

import torch

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl

BLOCK = 1024  # numbers a program: 8 a lane, one 16-byte load of bf16 each; a row of DiT-XL/2 is 288 whole blocks


def gate_residual_reference(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return x + gate h, (N, T, D).

    Args:
        x: (N, T, D), the residual stream.
        gate: (N, D), applied to every token of its row.
        h: (N, T, D), what the branch computed.
    """
    return torch.addcmul(x, gate.unsqueeze(1), h)


@jit()
def gate_residual_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, T, D)
    gate_ptr,  # (N, D), rows gate_stride apart
    h_ptr,  # (N, T, D)
    y_ptr,  # (N, T, D)
    gate_stride,
    SIZE: tl.constexpr,  # T·D, the numbers of one row
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program computes BLOCK numbers of one row, across the borders of its tokens: no width wastes a lane."""
    BLOCKS: tl.constexpr = (SIZE + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // BLOCKS).to(tl.int64)
    at = (tl.program_id(0) % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
    inside = at < SIZE
    x = tl.load(x_ptr + row * SIZE + at, mask=inside).to(tl.float32)
    h = tl.load(h_ptr + row * SIZE + at, mask=inside).to(tl.float32)
    gate = tl.load(gate_ptr + row * gate_stride + at % WIDTH, mask=inside).to(tl.float32)
    tl.store(y_ptr + row * SIZE + at, (x + gate * h).to(y_ptr.dtype.element_ty), mask=inside)


def gate_residual_launch(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor, y: torch.Tensor) -> Launch:
    """Return the launch that fills y, (N, T, D)."""
    rows, tokens, width = x.shape
    size = tokens * width
    arguments = {
        "x_ptr": x, "gate_ptr": gate, "h_ptr": h, "y_ptr": y, "gate_stride": gate.stride(0),
        "SIZE": size, "WIDTH": width, "BLOCK": BLOCK,
    }
    return Launch(gate_residual_kernel, rows * -(-size // BLOCK), arguments, {"num_warps": 4})


@torch.library.custom_op("dit::gate_residual", mutates_args=())
def gate_residual_triton(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return x + gate h computed by the kernel in float32, rounded once, (N, T, D).

    Args:
        x: (N, T, D) contiguous, float32, bfloat16 or float16, on a card.
        gate: (N, D) of x's dtype, dense vectors at any distance.
        h: (N, T, D) contiguous, of x's dtype.

    Raises:
        ValueError: a shape, dtype, device or stride is another.
    """
    y: torch.Tensor = gate_residual_fake(x, gate, h)
    gate_residual_launch(x, gate, h, y).run()
    return y


@gate_residual_triton.register_fake
def gate_residual_fake(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return the output, not filled yet, after all checks."""
    check_gated(x, gate, h)
    checks.alike(x=x, gate=gate, h=h)
    checks.contiguous(x=x, h=h)
    checks.dense_vectors(gate=gate)
    return torch.empty_like(x)


def gate_residual(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return x + gate h, (N, T, D); see `gate_residual_reference`, on a card also `gate_residual_triton`.

    Raises:
        ValueError: h is not x's shape, or gate is not (N, D).
    """
    if takes_kernel(x, gate, h):
        y: torch.Tensor = gate_residual_triton(x, gate, h)
        return y
    check_gated(x, gate, h)
    return gate_residual_reference(x, gate, h)


def check_gated(x: torch.Tensor, gate: torch.Tensor, h: torch.Tensor) -> None:
    """Raise ValueError unless h has x's shape (N, T, D) and gate is (N, D)."""
    rows, _, width = checks.tokens("x", x)
    if h.shape != x.shape:
        raise ValueError(f"h must have x's shape {tuple(x.shape)}, got {tuple(h.shape)}")
    checks.shape("gate", gate, "(N, D)", (rows, width))
