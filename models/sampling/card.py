"""What a CUDA card can do and no processor: replay captured work, copy while the host goes on, run out of memory.

`Card` is what the pipeline asks for, so that its use can be tested where there is none. Nothing here knows models.
References: "CUDA Graphs" and "Graph memory management" in PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

Output = TypeVar("Output")
WARM_RUNS = 2  # before a capture: kernels are compiled, libraries make their handles and workspaces


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


class CudaCard:
    """A CUDA device as a `Card`: CUDA graphs over one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the pool's memory is only shared by captures on one stream
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
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):  # outside of the capture too: one that fails leaves its stream set
                for _ in range(WARM_RUNS):
                    work()
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                    output = work()
        except RuntimeError:
            self._pool = torch.cuda.graph_pool_handle()  # the old one is lost with the capture
            raise
        current.wait_stream(self._stream)

        def replay() -> Output:
            graph.replay()
            return output

        return replay


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on the device; the host does not wait for a card to have it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the pinned copy outlives the transfer: torch sees to it
