"""A card that is none: it captures by remembering the work, and replays by doing it again into the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Output = TypeVar("Output")


class SlowCard:
    """Stands in for a CUDA card, on the processor; a replay raises while it `is_broken`.

    Args:
        free: bytes that it says are free.
        peak: bytes that it says work takes.
        fails_at: the captures that fail, counted from 0.
        failure: what they raise; for want of memory when None.
        time: milliseconds that it says work takes.
    """

    def __init__(
        self,
        free: int = 1 << 40,
        peak: int = 1,
        fails_at: tuple[int, ...] = (),
        failure: RuntimeError | None = None,
        time: float = 1.0,
    ) -> None:
        self.free, self.peak, self.fails_at = free, peak, fails_at
        self.failure = failure or torch.OutOfMemoryError("no memory left")
        self.time = time
        self.captures, self.replays, self.timings = 0, 0, 0
        self.is_broken = False

    def free_bytes(self) -> int:
        return self.free

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        return self.peak

    def capture(self, work: Callable[[], Output]) -> Callable[[], Output]:
        self.captures += 1
        if self.captures - 1 in self.fails_at:
            raise self.failure
        output = work()

        def replay() -> Output:
            if self.is_broken:
                raise torch.OutOfMemoryError("no memory left")
            self.replays += 1
            for old, new in zip(output, work(), strict=True):  # type: ignore[call-overload]
                old.copy_(new)
            return output

        return replay

    def milliseconds(self, work: Callable[[], object]) -> float:
        self.timings += 1
        work()
        return self.time
