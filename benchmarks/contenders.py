"""The servers that `bench_service` compares: ours, ours of another checkout, and two peers around diffusers'
DiTPipeline, all on the same weights.

A peer comes in the settings that its users would try on a machine of this size; the one with the most images a second
stands for it. Knows how each is started, and no measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.client import NoAnswer, get
from tests.service.running import FREE_PORTS, PATIENCE_SECONDS, ROOT, Running, free_port, without_settings

OURS = "dit-serve"
BEFORE = "before"
FASTAPI = "FastAPI + DiTPipeline + lock"
LITSERVE = "LitServe + DiTPipeline"
AS_IT_COMES = "as it comes"
DTYPES = ("float32", "bfloat16")  # what from_pretrained gives unasked, and what a processor with bf16 does faster
PEER = (sys.executable, "-m")


@dataclass(frozen=True, slots=True)
class Contender:
    """A server in one setting."""

    name: str  # whose it is
    setting: str  # what was chosen, in words
    command: tuple[str, ...]  # starts it; "{port}" stands for the port of a peer
    environment: Mapping[str, str] = field(default_factory=dict)  # beside this process's own
    folder: Path = ROOT  # where it is started: an import takes what lies there


def ours(model: str) -> list[Contender]:
    """Our service as it comes, which is bfloat16 where the processor has it, and in float32."""
    command = (sys.executable, "-m", "dit_serve", "serve", *FREE_PORTS, "--models", model)
    return [Contender(OURS, AS_IT_COMES, command), Contender(OURS, "float32", (*command, "--dtype", "float32"))]


def before(model: str, checkout: Path) -> Contender:
    """Our service as another checkout has it, started by that checkout's own `.venv/bin/dit`."""
    command = (str(checkout / ".venv" / "bin" / "dit"), "serve", *FREE_PORTS, "--models", model)
    return Contender(BEFORE, AS_IT_COMES, command, folder=checkout)


def peers(folder: Path) -> list[Contender]:
    """Both peers in each number format: one process with all cores, as most are run, and a process a core."""
    cores = len(os.sched_getaffinity(0))
    runs = [(dtype, *shape) for dtype in DTYPES for shape in sorted({(1, cores), (cores, 1)})]
    fastapi = ("uvicorn", "--factory", "benchmarks.peers:create_app", "--port", "{port}", "--workers")
    litserve = ("benchmarks.peers.litserve_batch", "{port}")
    found = []
    for dtype, processes, threads in runs:
        environment = {"PEER_FOLDER": str(folder), "PEER_DTYPE": dtype, "OMP_NUM_THREADS": str(threads)}
        setting = f"{dtype}, {processes} process(es) of {threads} thread(s)"
        lock = (*PEER, *fastapi, str(processes), "--log-level", "warning", "--no-access-log")
        found.append(Contender(FASTAPI, setting, lock, environment))
        for size in (8, 32):
            batch = (*PEER, *litserve, str(processes), str(size))
            found.append(Contender(LITSERVE, f"{setting}, max_batch_size {size}", batch, environment))
    return sorted(found, key=lambda each: each.name)


@contextlib.asynccontextmanager
async def running(contender: Contender) -> AsyncIterator[Running]:
    """The contender, ready for work; at the end all that it started is killed."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in contender.command]
    server = Running(command, without_settings() | dict(contender.environment), contender.folder)
    try:
        if contender.name in (OURS, BEFORE):
            server.wait_until_listening()
            server.wait_until_ready()
        else:
            server.port = port
            await _until_healthy(server)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.close()


async def _until_healthy(server: Running) -> None:
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        while server.process.poll() is None:
            with contextlib.suppress(NoAnswer):
                if (await get(server.port, "/health")).status == 200:
                    return
            await asyncio.sleep(0.2)
    raise RuntimeError(f"the peer ended; its last lines: {server.seen[-8:]}")
