"""How many threads a step on the processor takes: as many as there are cores that other processes leave to it.

Threads that share an operation wait for the last of them, and where another process holds a core that one is late, at
every operation: fewer threads, each with a core of its own, are faster. What others leave is what this process has had
lately and what nobody had, as the kernel counts it. Two processes that begin with all cores so settle on half of them
each, and one that is left alone takes them all again. Linux alone; elsewhere the number stays as it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

PERIOD_SECONDS = 0.25  # the kernel counts in hundredths of a second
STAT = Path("/proc/stat")
UNTAKEN = (4, 5, 8)  # columns of a core's line: idle, waiting for a disk, and what a hypervisor takes from all alike


class Usage(NamedTuple):
    """Core-seconds until now: of the cores that this process may use, left idle by all, and this process's own."""

    idle: float
    own: float


class CoreShare:
    """The number of threads for each step, decided anew from time to time.

    Args:
        read: tells what has been used; None where that is unknown or does not matter, and nothing is changed.
        clock: in seconds.
    """

    def __init__(self, read: Callable[[], Usage] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._then = clock()
        self._used = read() if read is not None else Usage(0.0, 0.0)
        self._cores = sys.maxsize

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Let this thread's work take the cores that are left to it: at least one, at most as many as it had."""
        before = torch.get_num_threads()
        threads = min(before, self._left())
        if threads == before:
            yield
            return
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _left(self) -> int:
        now = self._clock()
        if self._read is not None and now - self._then >= PERIOD_SECONDS:
            used = self._read()
            had = sum(used) - sum(self._used)
            self._cores = max(1, round(had / (now - self._then)))
            self._then, self._used = now, used
        return self._cores


def core_share(device: torch.device) -> CoreShare:
    """Return the share for a device; it changes nothing on a card, or where the operator has set OMP_NUM_THREADS."""
    is_open = device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > 1
    return CoreShare(read_usage if is_open and _is_counted() else None)


def read_usage() -> Usage:
    """Return what the kernel has counted.

    Raises:
        OSError: this system has no such count.
    """
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = [line.split() for line in STAT.read_text().splitlines() if line.startswith("cpu")]
    ticks = sum(int(line[column]) for line in lines if line[0] in allowed for column in UNTAKEN)
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def _is_counted() -> bool:
    """Whether this is Linux and the count is more than the zeros that some sandboxes show."""
    return hasattr(os, "sched_getaffinity") and STAT.exists() and read_usage().idle > 0.0
