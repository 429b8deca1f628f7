"""What a CUDA card can do and no processor: replay captured work and time it, copy while the host goes on, run out of
memory.

`Card` is what the pipeline asks for, so that its use can be tested where there is none. Nothing here knows models.
References: "CUDA Graphs" and "Graph memory management" in PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import torch

Output = TypeVar("Output")
WARM_RUNS = 2  # before a capture: kernels are compiled, libraries make their handles and workspaces
TIMED, REPLAYS = 5, 3  # how often a graph that is timed does the work, and how often it is replayed


class Card(Protocol):
    """A card, for work that is captured once and replayed.

    What one card has captured shares scratch memory, so two of its replays must not run at the same time.
    """

    def free_bytes(self) -> int:
        """Return the memory that nobody has taken."""

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Return the most memory that `work` takes beside what is taken already."""

    def capture(self, work: Callable[[], Output]) -> Callable[[], Output]:
        """Return a function that does `work` again on the memory that it reads now; its output is always the same
        memory, overwritten by the next call."""

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Return how long the card takes for one `work` among others of its kind, captured and replayed."""


class CudaCard:
    """A CUDA device as a `Card`: CUDA graphs over one pool of memory.

    What is captured has the priority of the stream that is current now, whatever stream it is replayed on: a graph's
    nodes keep that of their capture.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        priority = torch.cuda.current_stream(device).priority
        # one for all: the pool's memory is only shared by captures on one stream
        self._stream = torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def free_bytes(self) -> int:
        """Return the memory that neither this process nor another has taken; what torch kept for later counts."""
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0]

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Return the most memory that `work` takes beside what is taken already, on its second run.

        The first run compiles, and leaves behind what libraries keep.
        """
        work()
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before

    def capture(self, work: Callable[[], Output]) -> Callable[[], Output]:
        """Return a function that replays `work` on the stream that is current when it is called.

        Raises:
            RuntimeError: memory is too small (torch.OutOfMemoryError), or `work` does what cannot be captured.
        """
        graph, output = self._captured(work, self._pool)

        def replay() -> Output:
            graph.replay()
            return output

        return replay

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Return the time of one `work` on the card: a graph does it several times, of its replays the median counts.

        The graph has memory of its own, and it is given back.

        Raises:
            RuntimeError: as `capture`.
        """

        def often() -> None:
            for _ in range(TIMED):
                work()

        graph, _ = self._captured(often, torch.cuda.graph_pool_handle())
        graph.replay()  # the first one brings the graph to the card
        stream, times = torch.cuda.current_stream(self._device), list[float]()
        for _ in range(REPLAYS):
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begun.record(stream)
            graph.replay()
            ended.record(stream)
            ended.synchronize()
            times.append(begun.elapsed_time(ended) / TIMED)
        return statistics.median(times)

    def _captured(
        self, work: Callable[[], Output], pool: torch.cuda._POOL_HANDLE
    ) -> tuple[torch.cuda.CUDAGraph, Output]:
        """Return a graph of `work` with its scratch memory in `pool`, and where its output is after each replay."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):  # outside of the capture too: one that fails leaves its stream set
                for _ in range(WARM_RUNS):
                    work()
                with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                    output = work()
        except Exception:
            self._abandon(graph, pool)
            raise
        current.wait_stream(self._stream)
        return graph, output

    def _abandon(self, graph: torch.cuda.CUDAGraph, pool: torch.cuda._POOL_HANDLE) -> None:
        """Tell the allocator that a capture has failed, whose pool no other capture can share.

        Of a capture that the driver reports invalid, torch 2.11 tells the allocator nothing (pytorch #180395), which
        takes it to be under way for good: `empty_cache` frees nothing, and no allocation is tried again. Where the end
        has been told already, being told again is refused, and the pool is the graph's to release.
        """
        graph.reset()
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self._stream.device_index, pool)
            torch._C._cuda_releasePool(self._stream.device_index, pool)
        if pool == self._pool:
            self._pool = torch.cuda.graph_pool_handle()


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on the device; the host does not wait for a card to have it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the pinned copy outlives the transfer: torch sees to it
