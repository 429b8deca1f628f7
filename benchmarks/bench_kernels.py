"""Each kernel against torch's own operators and torch.compile's, on DiT-XL/2's shapes, in one run on one card.

    python -m benchmarks.bench_kernels                       # bfloat16; 64 and 2 sequences at 256 px, 16 at 512 px
    python -m benchmarks.bench_kernels --json results.json
    python -m benchmarks.bench_kernels --device cpu          # dry run in Triton's interpreter: the figures mean nothing

First the ceilings of the day on this card: a large matrix product on random data and a copy. Then a row a kernel:
medians of milliseconds with a cold L2, the rate that the shortest possible traffic or the arithmetic amounts to, its
share of the ceiling, and the largest difference from torch's own result. benchmarks/gpu.sh runs the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.timing import captured, ceilings, measure, rate

if TYPE_CHECKING:
    from benchmarks.kernel_cases import Case


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table: milliseconds of each, our rate and its share of the ceiling, the largest difference."""

    name: str
    ours_ms: float
    eager_ms: float
    compiled_ms: float
    rate: float
    unit: str
    ceiling_share: float
    difference: float


def results(dtype: torch.dtype, device: torch.device, ceiling: Mapping[str, float]) -> Iterator[Result]:
    """Yield every kernel's row, on every shape that is timed.

    Args:
        dtype: of the activations and weights.
        device: a card; on a processor the shapes are tiny and the kernels interpreted.
        ceiling: the largest rates of the device, by unit.
    """
    from benchmarks.kernel_cases import TIMED, TINY, cases  # imports triton: the environment must be set before

    for shape in TIMED if device.type == "cuda" else TINY:
        for case in cases(shape, dtype, device):
            yield result(case, device, ceiling)


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
    share = reached / ceiling[case.unit]
    return Result(case.name, ours_ms, eager_ms, compiled_ms, reached, case.unit, share, difference)


def ceiling_rates(dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Return the largest rates of the device, by unit: of a matrix product and of a copy."""
    side, size, runs = (8192, 2**30, 20) if device.type == "cuda" else (64, 2**16, 3)
    amounts = {"TFLOP/s": 2.0 * side**3, "GB/s": 2.0 * size}
    spreads = ceilings(dtype, device, side, size, runs)
    return {unit: rate(amounts[unit], unit, spread.least) for unit, spread in spreads.items()}


def machine(device: torch.device) -> str:
    """Return the card or processor and the versions that the figures belong to."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} (dry run)"
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], help="bfloat16; on cpu float32")
    parser.add_argument("--json", type=Path, help="also write machine, ceilings and rows to this file")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        if options.dtype == "bfloat16":
            parser.error("Triton's interpreter does not multiply bfloat16: take float16 or float32")
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    dtype: torch.dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    torch.set_grad_enabled(False)
    ceiling = ceiling_rates(dtype, device)
    print(f"{machine(device)}, {dtype}")
    print(", ".join(f"ceiling {value:.1f} {unit}" for unit, value in ceiling.items()) + "\n")
    print("| kernel | ours, ms | torch, ms | torch.compile, ms | rate | of ceiling | largest difference |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for r in results(dtype, device, ceiling):
        rows.append(asdict(r))
        print(
            f"| {r.name} | {r.ours_ms:.4f} | {r.eager_ms:.4f} | {r.compiled_ms:.4f} | {r.rate:.1f} {r.unit} "
            f"| {r.ceiling_share:.0%} | {r.difference:.2g} |", flush=True,
        )
    if options.json:
        report = {"machine": machine(device), "dtype": str(dtype), "ceilings": ceiling, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
