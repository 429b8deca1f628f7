"""Each kernel against torch's own operators and torch.compile's, on DiT-XL/2's shapes, in one run on one card.

    benchmarks/gpu.sh --only ceilings,kernels                # 64 and 2 sequences at 256 px, 16 at 512 px

First the ceilings of the day on this card: a large matrix product on random data and a copy. Then a row a kernel:
medians of milliseconds with a cold L2, the rate that the shortest possible traffic or the arithmetic amounts to, its
share of the ceiling, its share of a copy of as many bytes (launched and timed the same way, so that what a launch costs
is in both), and the largest difference from torch's own result. The linear layers are `benchmarks.gpu.linear`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmarks.timing import captured, ceilings, measure, rate

if TYPE_CHECKING:
    from benchmarks.kernel_cases import Case, Shape


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table: milliseconds of each, our rate, its shares, the largest difference."""

    name: str
    ours_ms: float
    eager_ms: float
    compiled_ms: float
    rate: float
    unit: str
    ceiling_share: float
    copy_share: float | None  # None of what is bound by arithmetic
    difference: float


def results(dtype: torch.dtype, device: torch.device, ceiling: Mapping[str, float]) -> Iterator[tuple[Shape, Result]]:
    """Yield every kernel's row, on every shape that is timed, with the shape.

    Args:
        dtype: of the activations and weights.
        device: a card; on a processor the shapes are tiny and the kernels interpreted.
        ceiling: the largest rates of the device, by unit.
    """
    from benchmarks.kernel_cases import TIMED, TINY, fused_cases  # imports triton: the environment must be set before

    for shape in TIMED if device.type == "cuda" else TINY:
        for case in fused_cases(shape, dtype, device):
            yield shape, result(case, device, ceiling)


def result(case: Case, device: torch.device, ceiling: Mapping[str, float]) -> Result:
    """Return the case's row."""
    torch._dynamo.reset()  # or the shapes before this one would make it compile for any shape, or not at all
    backend = "inductor" if device.type == "cuda" else "eager"
    compiled = torch.compile(case.reference, backend=backend, dynamic=False)
    ours, theirs = case.ours(), case.torchs()
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    difference = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)

    def milliseconds(work: Callable[[], object]) -> float:
        runs = 50 if device.type == "cuda" else 1
        return measure(captured(work, device), device, runs=runs, is_cold=True).median

    ours_ms, eager_ms, compiled_ms = map(milliseconds, (case.ours, case.torchs, lambda: compiled(*case.arguments)))
    reached = rate(case.amount, case.unit, ours_ms)
    copied = None
    if case.unit == "GB/s":
        source = torch.empty(int(case.amount / 2), device=device, dtype=torch.uint8)  # read once, written once
        target = torch.empty_like(source)
        copied = milliseconds(lambda: target.copy_(source)) / ours_ms
    share = reached / ceiling[case.unit]
    return Result(case.name, ours_ms, eager_ms, compiled_ms, reached, case.unit, share, copied, difference)


def ceiling_rates(dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Return the largest rates of the device, by unit: of a matrix product and of a copy."""
    side, size, runs = (8192, 2**30, 20) if device.type == "cuda" else (64, 2**16, 3)
    amounts = {"TFLOP/s": 2.0 * side**3, "GB/s": 2.0 * size}
    spreads = ceilings(dtype, device, side, size, runs)
    return {unit: rate(amounts[unit], unit, spread.least) for unit, spread in spreads.items()}
