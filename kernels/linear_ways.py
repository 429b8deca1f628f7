"""The ways to the product of a linear layer, as values: who wants the fastest on a card times those that take a shape.

A family gives one result. Every way of WHOLE sums over K from first to last into one accumulator, so its ways are free
to be mixed by the number of rows. BLAS is the library's product, whose rows may depend on how many there are unless
`starve_cublaslt` was called, and even then a card's own answers must say so: compare rows bitwise before relying on it.
FLOAT8_WHOLE and FLOAT8_BLAS are the same for operands of float8 (kernels/linear_float8.py).
Nothing here times, chooses or keeps anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from dit_serve.kernels.launch import FLOAT8_CAPABILITY, reaches, takes_kernel, triton
from dit_serve.kernels.linear import linear_triton
from dit_serve.kernels.linear_float8 import linear_float8_triton
from dit_serve.kernels.tiles import TILES

SCALED_ROWS_CAPABILITY = (9, 0)  # from which on torch._scaled_mm takes a scale a row
BYTES_OF_WORKSPACE = 1024  # the least that CUBLASLT_WORKSPACE_SIZE can say: no float32 sums of a split product fit


class Way(NamedTuple):
    """One way to epilogue(x Wᵀ + b), or of float8 to (x Wᵀ) · scale_x · scale_w + b.

    Attributes:
        name: short and lasting, for logs and tables.
        takes: of (x, weight, epilogue): whether the way can be gone here, for such tensors; float8 has no epilogue but
            "none".
        product: of (x, weight, bias, epilogue), or of float8 (x, x_scales, weight, weight_scales, bias): the (N, T, O)
            result. The library's float8 wants a bias in bfloat16.
    """

    name: str
    takes: Callable[[torch.Tensor, torch.Tensor, str], bool]
    product: Callable[..., torch.Tensor]


def starve_cublaslt() -> None:
    """Leave cuBLASLt no room to sum K in parts, which is what makes a row depend on the number of rows on Hopper.

    A product of few rows is split over K where the partial sums find a workspace. Without one, in full precision and
    with splitting forbidden, K is summed in one go, as vLLM's batch-invariant mode has it. All of these are settings of
    torch for the whole process: every other product of 16 bits is meant by them too, and goes to cuBLASLt, because
    plain cuBLAS cannot be forbidden to split and refuses. Where torch cannot set the workspace (before 2.13) an
    environment variable says it, unless it is set already; that holds only if no product has run in the process before.
    Does nothing without a card, and nothing more the second time.
    """
    if not torch.cuda.is_available() or torch.version.hip:
        return
    if hasattr(torch.backends.cuda, "cublaslt_workspace_size"):
        torch.backends.cuda.cublaslt_workspace_size(BYTES_OF_WORKSPACE)
    else:
        os.environ.setdefault("CUBLASLT_WORKSPACE_SIZE", str(BYTES_OF_WORKSPACE // 1024))
    torch.backends.cuda.preferred_blas_library("cublaslt")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = (False, False)  # nor split
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = (False, False)


def _takes_tile(name: str, x: torch.Tensor, weight: torch.Tensor, epilogue: str) -> bool:
    return takes_kernel(x, weight) and name in TILES[x.dtype]


def _takes_blas(x: torch.Tensor, weight: torch.Tensor, epilogue: str) -> bool:
    return takes_kernel(x, weight) and not torch.version.hip and x.shape.numel() > 0


def _by_blas(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    """Return the product with bias, and GELU's tanh form on a card, in cuBLASLt's epilogue."""
    rows = x.flatten(0, 1)
    if epilogue == "gelu_tanh":
        y = torch._addmm_activation(bias, rows, weight.t(), use_gelu=True)
    else:
        y = torch.addmm(bias, rows, weight.t())
    return y.view(*x.shape[:2], -1)


def _takes_float8(x: torch.Tensor, weight: torch.Tensor, epilogue: str) -> bool:
    is_float8 = x.dtype == weight.dtype == torch.float8_e4m3fn
    is_on_a_card = triton is not None and x.is_cuda and reaches(x.device, FLOAT8_CAPABILITY)
    return is_on_a_card and is_float8 and epilogue == "none"


def _takes_float8_blas(x: torch.Tensor, weight: torch.Tensor, epilogue: str) -> bool:
    """Return whether the library multiplies these: with a scale a row it does on Hopper, in whole 16 elements."""
    fits = weight.shape[0] % 16 == 0 and weight.shape[1] % 16 == 0 and x.shape.numel() > 0
    return fits and _takes_float8(x, weight, epilogue) and reaches(x.device, SCALED_ROWS_CAPABILITY)


def _float8_by_blas(
    x: torch.Tensor, x_scales: torch.Tensor, weight: torch.Tensor, weight_scales: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the product by CUTLASS's kernel, which adds the tensor cores' sums in float32 as ours does."""
    y = torch._scaled_mm(
        x.flatten(0, 1), weight.t(), x_scales.view(-1, 1), weight_scales[None, :], bias, out_dtype=bias.dtype,
        use_fast_accum=False,
    )
    return y.view(*x.shape[:2], -1)


_NAMES = dict.fromkeys(name for tiles in TILES.values() for name in tiles)
WHOLE = tuple(Way(name, partial(_takes_tile, name), partial(linear_triton, tile=name)) for name in _NAMES)
BLAS = (Way("blas", _takes_blas, _by_blas),)
FLOAT8_WHOLE = tuple(
    Way(name, _takes_float8, partial(linear_float8_triton, tile=name)) for name in TILES[torch.float8_e4m3fn]
)
FLOAT8_BLAS = (Way("blas", _takes_float8_blas, _float8_by_blas),)
