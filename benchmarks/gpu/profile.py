"""Where the time goes: what a step and a decoding launch on the card, a row a kernel, by torch's profiler.

Kernels of one short name are one row: tiles of a Triton kernel, and the layers that share it. "gaps" is what is left of
the time by events, in which no kernel ran: launches, and the host. The profiler sees through a graph's replay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import Work, measure
from dit_serve import Pipeline, SampleSpec
from dit_serve.models.sampling.sample import Sample

SEQUENCES = (64, 16, 2)  # of the steps; of another precision than the usual one the first alone
IMAGES = (1, 16)  # decoded at once
TIMED = 10  # runs by events, after two that do not count
WARM, RUNS = 3, 3  # before the profiler, and under it
SMALL = 0.01  # share of the time below which kernels are summed up
LONGEST = 60  # letters of a name
WRAPPERS = ("Kernel", "Kernel2", "device_kernel", "kernel", "cutlass_main")  # what they launch is their first argument
WHAT = re.compile(r"(\w+?)(?:_kernel_cuda|_kernel|_functor|Functor|Ops)\b|CUDAFunctor_(\w+)")  # of torch's own loops


class Launched(NamedTuple):
    """All launches of one kernel."""

    name: str  # as the compiler wrote it
    launches: int
    microseconds: float


def rows(bench: Bench, precision: str) -> Iterator[Row]:
    """Yield the rows of a step of each number of sequences, and of decoding, at the smaller resolution."""
    pipeline = bench.load(min(bench.resolutions), precision=precision or None)
    for sequences in SEQUENCES[: 1 if precision else None]:
        samples = begun(pipeline, sequences // 2, steps=2 + TIMED + WARM + RUNS)
        yield from profiled(bench, f"a step of {sequences} sequences", partial(pipeline.step, samples))
    for images in () if precision else IMAGES:
        done = begun(pipeline, images, steps=1)
        pipeline.step(done)
        yield from profiled(bench, f"decoding of {images}", partial(pipeline.decode, done))


def begun(pipeline: Pipeline, images: int, steps: int) -> list[Sample]:
    """Return guided images at their beginning."""
    return [pipeline.begin(SampleSpec(0, seed, steps)) for seed in range(images)]


def profiled(bench: Bench, what: str, work: Work) -> Iterator[Row]:
    """Yield the rows of some work."""
    microseconds = 1e3 * measure(work, bench.device, runs=TIMED).median
    for row in shares(launched(work), RUNS, microseconds):
        yield {"of": what, **row}


def launched(work: Work) -> list[Launched]:
    """Return what the card did in all runs of some work; RuntimeError if the profiler saw nothing."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(WARM):
        work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(RUNS):
            work()
        torch.cuda.synchronize()
    events = [event for event in profiler.key_averages() if event.self_device_time_total > 0]  # on the card itself
    if not events:
        raise RuntimeError("the profiler saw no kernel")
    return [Launched(event.key, event.count, event.self_device_time_total) for event in events]


def shares(found: Iterable[Launched], runs: int, microseconds: float) -> list[Row]:
    """Return a row a kernel, the longest first, of work that ran so many times and takes so many microseconds.

    Those below `SMALL` are one row, "others"; "gaps" is the time that no kernel took, less than nothing where several
    ran at once.
    """
    sums: dict[str, tuple[float, float]] = {}  # launches and microseconds of one run, by name

    def add(name: str, launches: float, time: float) -> None:
        before = sums.get(name, (0.0, 0.0))
        sums[name] = before[0] + launches, before[1] + time

    for kernel in found:
        add(short(kernel.name), kernel.launches / runs, kernel.microseconds / runs)
    whole = sum(time for _, time in sums.values())
    for name in [name for name, (_, time) in sums.items() if time < SMALL * microseconds]:
        add("others", *sums.pop(name))
    lines = sorted(sums.items(), key=lambda line: (line[0] != "others", line[1][1]), reverse=True)
    lines.append(("gaps", (0.0, microseconds - whole)))
    return [
        {"kernel": name, "launches": launches, "us": time, "share": time / microseconds}
        for name, (launches, time) in lines
    ]


def short(name: str) -> str:
    """Return a kernel's name without types, namespaces and arguments; of torch's own loops what they compute.

        void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, …>(int, …)
    is "elementwise: add", and Triton's "_attention_kernel" is "attention".
    """
    plain = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    before = re.split(r"[<>(,]", plain, maxsplit=1)[0]
    outer, inner = before.strip().rpartition("::")[2], plain[len(before) :]
    kind = next((kind for kind in ("elementwise", "reduce") if f"{kind}_kernel" in outer), None)
    if kind and (computed := [a or b for a, b in WHAT.findall(inner)]):
        return f"{kind}: {computed[-1].lower()}"[:LONGEST]
    if (outer in WRAPPERS or outer.startswith("enable_")) and inner.startswith("<"):
        return short(inner[1:])
    whole = outer.removesuffix("_kernel").strip("_") or name
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"
