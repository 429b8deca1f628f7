"""Who used the machine's cores: the load generator, the server under test, or somebody else. Linux alone (/proc).

A measurement on a machine that others use says little; so each says how much of the cores the others took.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of all cores up to a moment.

    Args:
        at: monotonic seconds of the moment.
        busy: of everybody.
        generator: of this process.
        server: of all processes of the server's session.
    """

    at: float
    busy: float
    generator: float
    server: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of all cores' time between two moments."""

    generator: float
    server: float
    others: float


def usage(session: int) -> Usage:
    """What has been used until now; `session` is the server's, which is its first process."""
    return Usage(time.monotonic(), _busy_seconds(), time.process_time(), sum(_seconds_of(session)))


def shares(before: Usage, after: Usage) -> Shares:
    """Who used what in between."""
    cores = (after.at - before.at) * len(os.sched_getaffinity(0))
    generator = (after.generator - before.generator) / cores
    server = (after.server - before.server) / cores
    busy = (after.busy - before.busy) / cores
    return Shares(generator, server, max(0.0, busy - generator - server))


def _busy_seconds() -> float:
    """User, nice, system, irq, softirq and steal of all cores (proc(5))."""
    user, nice, system, _idle, _iowait, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS_PER_SECOND


def _seconds_of(session: int) -> Iterator[float]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()  # from the third on: state, ppid, pgrp, session, …
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == session:
            yield (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
