"""Linear layer and the activation after it: y = epilogue(x Wᵀ + b).

Epilogues: "none", and "gelu_tanh", the MLP's activation (arXiv 1606.08415, the tanh form).

The kernel is batch-invariant: the order in which it sums over K depends on the layer alone, whatever the tile
(kernels/tiles.py), and K is not split between programs. So a row's result is bitwise the same alone and in any batch,
which a BLAS that picks a kernel by the shape of the batch does not promise. `linear` takes the BLAS unless it is asked
for batch invariance. A BLAS whose rows were found not to depend on their number may be as good: kernels/linear_ways.py
lists all ways, benchmarks/gpu/linear.py compares them.

On the CPU, where a separate pass for GELU costs half as much as the product before it, oneDNN fuses the two. There a
row's result does not depend on the number of rows if that is a multiple of 16: tests hold the libraries to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op, wants_gradient
from dit_serve.kernels.tiles import GROUP, named_tile, operands, sum_over_k, tile_for

EPILOGUES = ("none", "gelu_tanh")


def linear_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    residual: torch.Tensor | None = None,
    tile: str | None = None,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O), or x Wᵀ + b + residual.

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: "none" or "gelu_tanh".
        residual: (T, O), added to every sequence, or None; not together with an activation.
        tile: how the kernel divides the product, a name in kernels.tiles.TILES; None: as `tile_for` says. No bit of
            the result depends on it.
    """
    _sizes(x, weight, bias, epilogue, residual)
    y = F.linear(x, weight, bias)
    if epilogue == "gelu_tanh":
        return F.gelu(y, approximate="tanh")
    return y if residual is None else y + residual


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
    residual_ptr,  # (T, O), or None
    y_ptr,  # (N·T, O)
    rows,  # N·T
    TOKENS: tl.constexpr,  # T where there is a residual
    OUT: tl.constexpr,
    K: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One program computes one tile of y, summing over K from first to last."""
    x_ptrs, weight_ptrs, row, column, n, inside = operands(
        x_ptr, weight_ptr, rows, OUT, K, BLOCK_M, BLOCK_N, BLOCK_K, GROUP
    )
    y = sum_over_k(x_ptrs, weight_ptrs, K, BLOCK_M, BLOCK_N, BLOCK_K)
    y += tl.load(bias_ptr + column).to(tl.float32)[None, :]
    if residual_ptr is not None:
        y += tl.load(residual_ptr + (row % TOKENS)[:, None] * OUT + n[None, :], mask=inside, other=0.0).to(tl.float32)
    if GELU:
        y = gelu_tanh(y)
    tl.store(y_ptr + row[:, None] * OUT + n[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


def linear_launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    residual: torch.Tensor | None = None,
    tile: str | None = None,
) -> Launch:
    """Return the launch for contiguous tensors of one dtype."""
    sequences, tokens, size, out = _sizes(x, weight, bias, epilogue, residual)
    tensors = {"x": x, "weight": weight, "bias": bias} | ({} if residual is None else {"residual": residual})
    checks.alike(**tensors)
    checks.contiguous(**tensors)
    y = x.new_empty(sequences, tokens, out)
    rows = sequences * tokens
    blocks = named_tile(x.dtype, tile_for(x.dtype, rows, out) if tile is None else tile)
    arguments = {
        "x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "residual_ptr": residual, "y_ptr": y,
        "rows": rows, "TOKENS": 1 if residual is None else tokens, "OUT": out, "K": size,
        "GELU": epilogue == "gelu_tanh",
        "BLOCK_M": blocks.m, "BLOCK_N": blocks.n, "BLOCK_K": blocks.k, "GROUP": GROUP,
    }
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    programs = -(-rows // blocks.m) * -(-out // blocks.n)
    return Launch(y, linear_kernel, programs, arguments, options, {"num_stages": blocks.hip_num_stages})


linear_triton = torch_op(linear_reference, linear_launch)


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epilogue: str = "none",
    *,
    batch_invariant: bool = False,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return epilogue(x Wᵀ + b), (N, T, O); see `linear_reference`, on a card and batch-invariant `linear_launch`.

    On the CPU GELU is fused into the product where oneDNN can.

    Args:
        x: (N, T, K).
        weight: (O, K).
        bias: (O,).
        epilogue: one of EPILOGUES.
        batch_invariant: on a card take the kernel, whose rows do not depend on how many there are, not the BLAS.
        residual: (T, O), added to every sequence, or None.

    Raises:
        ValueError: a shape does not fit, the epilogue is none of EPILOGUES or an activation beside a residual, or the
            kernel cannot take a stride.
    """
    if batch_invariant and takes_kernel(x, weight, bias, residual):
        return linear_triton(x, weight, bias, epilogue, residual)
    if epilogue == "gelu_tanh" and residual is None and takes_onednn(x, weight, bias):
        return linear_gelu_onednn(x, weight, bias)
    return linear_reference(x, weight, bias, epilogue, residual)


def _sizes(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str, residual: torch.Tensor | None = None
) -> tuple[int, ...]:
    """Return N, T, K and O of a product with a known epilogue."""
    if epilogue not in EPILOGUES:
        raise ValueError(f"epilogue must be one of {', '.join(EPILOGUES)}, got {epilogue!r}")
    if residual is None:
        return checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"))
    if epilogue != "none":
        raise ValueError(f"a residual goes with the epilogue none, got {epilogue!r}")
    return checks.sizes(x=(x, "NTK"), weight=(weight, "OK"), bias=(bias, "O"), residual=(residual, "TO"))
