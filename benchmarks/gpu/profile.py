"""Where the time of a step and of a decoding goes: a row a kernel, by torch's profiler, which sees into graphs too."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import measure
from dit_serve import SampleSpec

SEQUENCES, FP8_SEQUENCES = (64, 16, 2), (64,)
DECODED = (1, 16)
REPEATS = 3  # of what is profiled
STEPS = 64  # of the samples, more than are taken
LEAST_SHARE = 0.01  # of a kernel that has a row of its own
LONGEST_NAME = 60
Kernel = tuple[str, int, float]  # name, launches and microseconds of all repeats


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield the kernels of steps, in fp8 too, and of decodings at the smaller resolution."""
    resolution = min(bench.resolutions)
    for precision, counts in (None, SEQUENCES), ("fp8", FP8_SEQUENCES):
        pipeline = bench.load(resolution, precision=precision)
        for sequences in counts:
            samples = [pipeline.begin(SampleSpec(0, seed, STEPS)) for seed in range(sequences // 2)]
            name = ", ".join(filter(None, (f"step of {sequences}", precision)))
            yield from profiled(bench, name, partial(pipeline.step, samples))
        for images in () if precision else DECODED:
            done = [pipeline.begin(SampleSpec(0, seed, 1)) for seed in range(images)]
            pipeline.step(done)
            yield from profiled(bench, f"decoding of {images}", partial(pipeline.decode, done))
        del pipeline
        bench.clear()


def profiled(bench: Bench, name: str, work: Callable[[], object]) -> Iterator[Row]:
    """Yield the rows of one piece of work."""
    whole = measure(work, bench.device, runs=10).median * 1e3
    torch.cuda.synchronize(bench.device)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(REPEATS):
            work()
        torch.cuda.synchronize(bench.device)
    events = [(event.key, event.count, event.self_device_time_total) for event in found.key_averages()]
    for row in shares(events, whole):
        yield {"what": name, **row}


def shares(kernels: Iterable[Kernel], whole: float) -> Iterator[Row]:
    """Yield a row a kernel, the longest first, of one repeat: those too short for one summed, and what is left.

    Args:
        kernels: of all repeats; several may have one name when it is short.
        whole: microseconds of one repeat by the device's own events.
    """
    times, launches = defaultdict[str, float](float), defaultdict[str, int](int)
    for name, count, microseconds in kernels:
        is_small = microseconds < LEAST_SHARE * whole * REPEATS
        key = "others" if is_small else shortened(name)
        if microseconds:  # the host's calls have none
            times[key] += microseconds / REPEATS
            launches[key] += count
    for key, us in sorted(times.items(), key=lambda pair: -pair[1]):
        yield {"kernel": key, "launches": launches[key] // REPEATS, "us": us, "share": us / whole}
    left = whole - sum(times.values())
    yield {"kernel": "between kernels", "launches": None, "us": left, "share": left / whole}


def shortened(name: str) -> str:
    """Return a kernel's name without its return type, namespaces and what is in brackets."""
    bare = re.sub(r"^void |\(anonymous namespace\)::|\b\w+::", "", name)
    if "elementwise_kernel" in bare and (functor := re.search(r"(\w+(?:Functor\w*|copy_kernel\w*))", bare)):
        bare = f"elementwise {functor.group(1)}"
    return re.split(r"[<(]", bare)[0][:LONGEST_NAME]
