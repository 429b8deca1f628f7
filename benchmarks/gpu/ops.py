"""Every kernel's result on this card against float64, beside what torch's own operators make of the same numbers.

The memory that a kernel writes to held NaN before: what it leaves out would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row, told
from benchmarks.kernel_cases import CHECKED, TINY, Case, cases

# |ours - exact| / |exact| that rounding explains: the result is rounded once, the weights of the attention once more.
# The format that is served goes first and through all shapes, the others through the first.
BOUNDS = {torch.bfloat16: 6e-3, torch.float16: 1e-3, torch.float32: 1e-5}
FLOAT8_BOUND = 2**-4  # of what is rounded to eight bits, three of them mantissa: here the exact result is rounded too


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for every kernel, shape and number format; one that fails costs its own row alone."""
    is_card = bench.device.type == "cuda"
    shapes = CHECKED if is_card else TINY
    torch.manual_seed(0)
    for dtype in BOUNDS if is_card else (torch.float32, torch.float16):  # the interpreter does not multiply bfloat16
        for shape in shapes if dtype == bench.dtype else shapes[:1]:
            for case in cases(shape, dtype, bench.device):
                yield row(case, dtype)


def row(case: Case, dtype: torch.dtype) -> Row:
    """Return how far the kernel and torch's operators are from float64, or why there is no result."""
    what = {"kernel": case.name, "dtype": str(dtype).removeprefix("torch.")}
    try:
        theirs = outputs(case.torchs())
        poison = [torch.full_like(out, float("nan")) for out in theirs]
        del poison  # the allocator hands the same blocks to the kernel
        ours, exact = outputs(case.ours()), outputs(case.exact())
        error, torch_error = distance(ours, exact), distance(theirs, exact)
        bound = FLOAT8_BOUND if any(out.dtype == torch.float8_e4m3fn for out in ours) else BOUNDS[dtype]
    except Exception as failure:
        return {**what, "is_within": False, "failed": told(failure)}
    is_within = error <= bound  # never of NaN
    return {**what, "error": error, "torch_error": torch_error, "bound": bound, "is_within": is_within}


def outputs(result: Any) -> tuple[torch.Tensor, ...]:
    """Return an op's results as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def distance(found: tuple[torch.Tensor, ...], exact: tuple[torch.Tensor, ...]) -> float:
    """Return |found - exact| / |exact|, the largest of all results."""
    pairs = zip(in_float64(found), in_float64(exact), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def in_float64(results: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """Yield the results in float64; eight-bit floats times their scales, which come next."""
    left = iter(results)
    for result in left:
        yield result.double() * (next(left).unsqueeze(-1) if result.dtype == torch.float8_e4m3fn else 1)
