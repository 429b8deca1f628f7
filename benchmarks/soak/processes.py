"""What a server's processes hold over time, as the system tells: memory, descriptors, threads. Linux alone.

Knows no requests.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from tests.service.running import Running

WARM_SHARE = 0.3  # of a soak, after which its memory should have levelled off
WINDOW_SHARE = 0.1  # of a soak, over whose samples the beginning and the end are taken
MOST_GROWTH = 0.05
MOST_SLOPE = 1.0  # MiB an hour


class Held(NamedTuple):
    """What a process holds at a moment."""

    resident_mib: float
    descriptors: int
    threads: int


Sample = Mapping[int, Held]  # by process


@dataclass(frozen=True, slots=True)
class Trend:
    """One process over a soak."""

    name: str
    first: Held
    last: Held
    growth: float  # of its memory from the end of the warm-up to the end, as a share
    slope: float  # MiB an hour over the same time
    threads: tuple[int, int]  # most in the first half and in the second


def hold(server: Running) -> Sample:
    """What the server's process and each of its children hold now."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    held = {each: _held(each) for each in (pid, *map(int, children))}
    return {each: found for each, found in held.items() if found is not None}


async def watch(server: Running, seconds: float, pace_seconds: float) -> list[tuple[float, Sample]]:
    """Samples of so many seconds with the moments at which they were taken, counted from now."""
    began, samples = time.monotonic(), list[tuple[float, Sample]]()
    while (at := time.monotonic() - began) < seconds:
        samples.append((at, hold(server)))
        await asyncio.sleep(min(pace_seconds, seconds - at))
    return samples


def trends(samples: Sequence[tuple[float, Sample]], names: Mapping[int, str]) -> list[Trend]:
    """The trend of each process that was there from beginning to end."""
    if not samples:
        return []
    everywhere = set.intersection(*(set(sample) for _, sample in samples))
    return [
        _trend(names.get(pid, "standby"), [(at, sample[pid]) for at, sample in samples]) for pid in sorted(everywhere)
    ]


def names_of(server: Running) -> dict[int, str]:
    """What each process is, as far as the log tells; a child that it does not tell of stands by."""
    workers = {int(line["worker_pid"]): f"worker {line['worker']}" for line in server.find("ready")}
    return {server.process.pid: "HTTP"} | workers


def _trend(name: str, held: Sequence[tuple[float, Held]]) -> Trend:
    length = held[-1][0]
    warm = [(at, each.resident_mib) for at, each in held if at >= WARM_SHARE * length]
    begin = median(mib for at, mib in warm if at <= (WARM_SHARE + WINDOW_SHARE) * length)
    end = median(mib for at, mib in warm if at >= (1 - WINDOW_SHARE) * length)
    times, memory = np.array(warm).T
    slope = float(np.polyfit(times / 3600, memory, 1)[0]) if len(warm) > 2 else 0.0
    halves = ([each.threads for at, each in held if (2 * at <= length) is is_first] for is_first in (True, False))
    first, second = (max(most, default=0) for most in halves)
    return Trend(name, held[0][1], held[-1][1], end / begin - 1, slope, (first, second))


def _held(pid: int) -> Held | None:
    """None of a process that has ended meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields:  # it has ended, and nobody has been told yet
        return None
    return Held(int(fields["VmRSS"].split()[0]) / 1024, descriptors, int(fields["Threads"]))
