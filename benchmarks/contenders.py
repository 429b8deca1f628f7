"""The servers that `bench_service` compares: ours, and two peers around diffusers' DiTPipeline on the same weights.

A peer comes in the settings that its users would try on a machine of this size; the one with the most images a second
stands for it. Knows how each is started, and no measurement.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server import Server, serve_command, serving, serving_peer

OURS = "dit-serve"
FASTAPI = "FastAPI + DiTPipeline + lock"
LITSERVE = "LitServe + DiTPipeline"
DTYPES = ("float32", "bfloat16")  # what from_pretrained gives unasked, and what a processor with bf16 does faster


@dataclass(frozen=True, slots=True)
class Contender:
    """A server in one setting.

    Args:
        name: whose it is.
        setting: what was chosen, in words.
        command: starts it; "{port}" stands for the port of a peer.
        threads: of each of its processes that compute, 0 to leave it to the library.
    """

    name: str
    setting: str
    command: tuple[str, ...]
    threads: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether it speaks our log and our probes."""
        return self.name == OURS


def ours(model: str) -> list[Contender]:
    """Our service as it comes, which is bfloat16 where the processor has it, and in float32."""
    return [
        Contender(OURS, "as it comes", tuple(serve_command(model=model))),
        Contender(OURS, "float32", tuple(serve_command("--dtype", "float32", model=model))),
    ]


def peers(folder: Path) -> list[Contender]:
    """Both peers in each number format: one process with all cores, as most are run, and a process a core."""
    cores = len(os.sched_getaffinity(0))
    shapes = [(1, cores)] if cores == 1 else [(1, cores), (cores, 1)]
    runs = [(dtype, *shape) for dtype in DTYPES for shape in shapes]
    found = [_fastapi(folder, *run) for run in runs]
    return found + [_litserve(folder, *run, batch) for run in runs for batch in (8, 32)]


@contextlib.asynccontextmanager
async def running(contender: Contender) -> AsyncIterator[Server]:
    """The contender, ready for work."""
    threads = {"OMP_NUM_THREADS": str(contender.threads)} if contender.threads else {}
    if contender.is_ours:
        async with serving(contender.command, threads) as server:
            yield server
    else:
        async with serving_peer(contender.command, threads, "/health") as server:
            yield server


def _fastapi(folder: Path, dtype: str, processes: int, threads: int) -> Contender:
    command = _peer("fastapi_lock", folder, dtype, processes, threads)
    return Contender(FASTAPI, f"{dtype}, {processes} process(es) of {threads} thread(s)", command, threads)


def _litserve(folder: Path, dtype: str, processes: int, threads: int, batch: int) -> Contender:
    setting = f"{dtype}, {processes} worker(s) of {threads} thread(s), max_batch_size {batch}"
    command = _peer("litserve_batch", folder, dtype, processes, threads)
    return Contender(LITSERVE, setting, (*command, str(batch)), threads)


def _peer(module: str, folder: Path, dtype: str, processes: int, threads: int) -> tuple[str, ...]:
    numbers = (str(processes), str(threads), dtype)
    return (sys.executable, "-m", f"benchmarks.peers.{module}", str(folder), "{port}", *numbers)
