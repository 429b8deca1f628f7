"""How long work takes on a device: by its own events on a card, by the clock on a processor. Knows no model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

Work = Callable[[], Any]
FLUSHED_BYTES = 256 << 20  # more than the L2 of any card: after it is written nothing else is left there


class Spread(NamedTuple):
    """Milliseconds of one run: in the middle of the runs, and the least."""

    median: float
    least: float


def measure(work: Work, device: torch.device, *, runs: int, is_cold: bool = False) -> Spread:
    """Return how long the work takes, after two runs that are not counted; a card's L2 is emptied first if cold."""
    for _ in range(2):
        work()
    is_card = device.type == "cuda"
    times = _on_card(work, runs, is_cold) if is_card else [seconds(work, device) * 1e3 for _ in range(runs)]
    return Spread(statistics.median(times), min(times))


def captured(work: Work, device: torch.device) -> Work:
    """Return the work as one launch, a CUDA graph's replay, as it is served on a card; itself elsewhere."""
    if device.type != "cuda":
        return work
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):  # round the capture too: one that fails leaves its stream set
        work()  # compiles and warms up before the capture, as torch asks
        with torch.cuda.graph(graph, stream=side):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    return graph.replay


def seconds(work: Work, device: torch.device) -> float:
    """Return the seconds by the clock of one run, until the device has done it."""
    is_card = device.type == "cuda"
    if is_card:
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if is_card:
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def rate(amount: float, unit: str, ms: float) -> float:
    """Return the amount a second in the unit, "TFLOP/s" or "GB/s", of that many operations or bytes."""
    return amount / (ms * 1e-3) / (1e12 if unit == "TFLOP/s" else 1e9)


def ceilings(dtype: torch.dtype, device: torch.device, side: int, size: int, runs: int) -> dict[str, Spread]:
    """Return the milliseconds of the two works that bound all others, by unit of their rates.

    A product of matrices of that side, random because a card multiplies zeros faster, and a copy of that many bytes.
    """
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.randint(0, 256, (size,), device=device, dtype=torch.uint8)
    target, product = torch.empty_like(source), torch.empty_like(a)
    return {
        "TFLOP/s": measure(lambda: torch.mm(a, b, out=product), device, runs=runs),
        "GB/s": measure(lambda: target.copy_(source), device, runs=runs),
    }


def _on_card(work: Work, runs: int, is_cold: bool) -> list[float]:
    """Return the milliseconds of each run between two events, all enqueued before the first is waited for."""
    rubbish = torch.empty(FLUSHED_BYTES if is_cold else 0, device="cuda", dtype=torch.uint8)
    event = partial(torch.cuda.Event, enable_timing=True)
    pairs = [(event(), event()) for _ in range(runs)]
    torch.cuda.synchronize()
    for began, ended in pairs:
        rubbish.zero_()
        began.record()
        work()
        ended.record()
    torch.cuda.synchronize()
    return [began.elapsed_time(ended) for began, ended in pairs]
