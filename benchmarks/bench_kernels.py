"""Each kernel against torch's own operators and torch.compile's, on DiT-XL/2's shapes, in one run on one card.

    python -m benchmarks.bench_kernels                       # bfloat16; 2 and 64 sequences at 256 px, 16 at 512 px
    python -m benchmarks.bench_kernels --json results.json
    python -m benchmarks.bench_kernels --device cpu          # dry run in Triton's interpreter: the figures mean nothing

First the ceilings of the day on this card: a large matrix product on random data and a copy. Then a row a kernel:
medians of milliseconds with a cold L2, the rate that the shortest possible traffic or the arithmetic amounts to, its
share of the ceiling, and the largest difference from torch's own result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

Work = Callable[[], Any]


class Shape(NamedTuple):
    """What a step of the network works on: sequences, tokens each, width, heads, width of the MLP's hidden layer."""

    sequences: int
    tokens: int
    width: int = 1152
    heads: int = 16
    mlp: int = 4608


SHAPES = (Shape(2, 256), Shape(64, 256), Shape(16, 1024))
TINY = (Shape(2, 5, width=72, heads=1, mlp=96),)


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel on one shape.

    Attributes:
        name: of the kernel and its shape.
        ours: the launcher's call.
        torchs: the definition's call, in torch's own operators.
        amount: bytes that must move, or floating point operations.
        unit: "GB/s" or "TFLOP/s", which says what the amount is.
    """

    name: str
    ours: Work
    torchs: Work
    amount: float
    unit: str


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


def cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield every kernel's case on a shape. The kernels are imported here: TRITON_INTERPRET must be set before."""
    yield from _token_cases(shape, dtype, device)
    yield from _linear_cases(shape, dtype, device)
    yield _sampler_step_case(shape, device)


def _token_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the kernels between the matrix products."""
    from kernels import attention, gate_residual, gate_residual_layernorm_modulate, layernorm_modulate

    n, t, width, heads, _ = shape
    x, h = (torch.randn(n, t, width, device=device, dtype=dtype) for _ in range(2))
    qkv = torch.randn(n, t, 3 * width, device=device, dtype=dtype)
    shift, scale, gate = torch.randn(n, 6, width, device=device, dtype=dtype).unbind(1)[:3]
    size = 1.0 * x.numel() * x.element_size()
    lm, gr, fused, at = layernorm_modulate, gate_residual, gate_residual_layernorm_modulate, attention
    yield Case(
        f"layernorm_modulate {n} x {t}",
        lambda: lm.layernorm_modulate_triton(x, shift, scale, 1e-6),
        lambda: lm.layernorm_modulate_reference(x, shift, scale, 1e-6),
        2 * size, "GB/s",
    )
    yield Case(
        f"gate_residual {n} x {t}",
        lambda: gr.gate_residual_triton(x, gate, h),
        lambda: gr.gate_residual_reference(x, gate, h),
        3 * size, "GB/s",
    )
    yield Case(
        f"gate_residual_layernorm_modulate {n} x {t}",
        lambda: fused.gate_residual_layernorm_modulate_triton(x, gate, h, shift, scale, 1e-6),
        lambda: fused.gate_residual_layernorm_modulate_reference(x, gate, h, shift, scale, 1e-6),
        4 * size, "GB/s",
    )
    yield Case(
        f"attention {n} x {t}",
        lambda: at.attention_triton(qkv, heads),
        lambda: at.attention_reference(qkv, heads),
        4.0 * n * t * t * width, "TFLOP/s",
    )


def _linear_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the four layers of a block with their epilogues."""
    from kernels.linear import linear_reference, linear_triton

    n, t, width, _, mlp = shape
    layers = (
        ("qkv", width, 3 * width, "none"), ("proj", width, width, "gate_residual"),
        ("fc1", width, mlp, "gelu_tanh"), ("fc2", mlp, width, "gate_residual"),
    )
    for name, size, out, epilogue in layers:
        x = torch.randn(n, t, size, device=device, dtype=dtype)
        weight = torch.randn(out, size, device=device, dtype=dtype) / size**0.5
        bias = torch.randn(out, device=device, dtype=dtype)
        is_gated = epilogue == "gate_residual"
        gate = torch.randn(n, 6, out, device=device, dtype=dtype)[:, 2] if is_gated else None
        residual = torch.randn(n, t, out, device=device, dtype=dtype) if is_gated else None
        arguments = (x, weight, bias, epilogue, gate, residual)
        yield Case(
            f"linear {name}, {epilogue} {n} x {t}",
            partial(linear_triton, *arguments),
            partial(linear_reference, *arguments),
            2.0 * n * t * size * out, "TFLOP/s",
        )


def _sampler_step_case(shape: Shape, device: torch.device) -> Case:
    """Return the update of half as many rows as sequences, all guided, on the latents of that many tokens."""
    from kernels.sampler_step import guide_reference, sampler_step_reference, sampler_step_triton

    rows, side = max(shape.sequences // 2, 1), 2 * max(round(shape.tokens**0.5), 1)
    x, x0_prev, noise = (torch.randn(rows, 4, side, side, device=device) for _ in range(3))
    out = torch.randn(2 * rows, 8, side, side, device=device)
    null_rows = torch.arange(rows, 2 * rows, device=device)
    guidance, coefficients = torch.full((rows,), 4.0, device=device), torch.rand(rows, 10, device=device)

    def torchs() -> object:
        guided = guide_reference(out, null_rows, guidance, 3)
        return sampler_step_reference(x, guided, coefficients, x0_prev, noise)

    moved = 8.75 * x.numel() * 4  # x, out twice as wide, 3 of its null's 4 channels, x0_prev, noise; two written
    ours = partial(sampler_step_triton, x, out, null_rows, guidance, 3, coefficients, x0_prev, noise)
    return Case(f"sampler_step {rows} x 4 x {side} x {side}", ours, torchs, moved, "GB/s")


def milliseconds(work: Work, device: torch.device) -> float:
    """Return how long the work takes: on a card the median of its CUDA graph, as it is served; one run elsewhere."""
    work()  # compiles
    if device.type == "cuda":
        from triton.testing import do_bench

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return float(do_bench(graph.replay, warmup=25, rep=100, return_mode="median"))  # empties L2 between runs
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def ceilings(dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Return the rates of a large matrix product and of a copy on this device, by unit."""
    side, size = (8192, 2**30) if device.type == "cuda" else (64, 2**16)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return {
        "TFLOP/s": rate(2.0 * side**3, "TFLOP/s", milliseconds(lambda: a @ b, device)),
        "GB/s": rate(2.0 * size, "GB/s", milliseconds(lambda: target.copy_(source), device)),
    }


def rate(amount: float, unit: str, ms: float) -> float:
    """Return the amount a second, in the unit."""
    return amount / (ms * 1e-3) / (1e12 if unit == "TFLOP/s" else 1e9)


def measure(case: Case, device: torch.device, ceiling: dict[str, float]) -> Result:
    """Return the case's row."""
    torch._dynamo.reset()  # or the shapes before this one would make it compile for any shape, or not at all
    compiled = torch.compile(case.torchs, backend="inductor" if device.type == "cuda" else "eager")
    ours, theirs = case.ours(), case.torchs()
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    difference = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)
    ours_ms, eager_ms, compiled_ms = (milliseconds(work, device) for work in (case.ours, case.torchs, compiled))
    reached = rate(case.amount, case.unit, ours_ms)
    share = reached / ceiling[case.unit]
    return Result(case.name, ours_ms, eager_ms, compiled_ms, reached, case.unit, share, difference)


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
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, below
    dtype: torch.dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    torch.set_grad_enabled(False)
    ceiling = ceilings(dtype, device)
    print(f"{machine(device)}, {dtype}")
    print(", ".join(f"ceiling {value:.1f} {unit}" for unit, value in ceiling.items()) + "\n")
    print("| kernel | ours, ms | torch, ms | torch.compile, ms | rate | of ceiling | largest difference |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for shape in SHAPES if device.type == "cuda" else TINY:
        for case in cases(shape, dtype, device):
            r = measure(case, device, ceiling)
            results.append(asdict(r))
            print(
                f"| {r.name} | {r.ours_ms:.4f} | {r.eager_ms:.4f} | {r.compiled_ms:.4f} | {r.rate:.1f} {r.unit} "
                f"| {r.ceiling_share:.0%} | {r.difference:.2g} |", flush=True,
            )
    if options.json:
        report = {"machine": machine(device), "dtype": str(dtype), "ceilings": ceiling, "rows": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
