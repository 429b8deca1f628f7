"""The servers that `python -m benchmarks.bench_service` compares, and what a load on one of them comes to.

Ours, ours of another checkout, and two peers around diffusers' DiTPipeline, all on the same weights. A peer comes in
the settings that its users would try on a machine of this size; the one with the most images a second stands for it. A
load says who used the cores and how long everybody waited. Knows no report.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import (
    BLOCK,
    Ask,
    NoAnswer,
    Trace,
    ask_one,
    at_times,
    balanced_asks,
    by_generate,
    by_openai,
    get,
    poisson_times,
    quantile,
)
from tests.service.running import FREE_PORTS, PATIENCE_SECONDS, ROOT, Running, free_port, without_settings

OURS = "dit-serve"
BY_OPENAI = "dit-serve, asked by OpenAI's route"
BEFORE = "before"
FASTAPI = "FastAPI + DiTPipeline + lock"
LITSERVE = "LitServe + DiTPipeline"
AS_IT_COMES = "as it comes"
DTYPES = ("float32", "bfloat16")  # what from_pretrained gives unasked, and what a processor with bf16 does faster
PEER = (sys.executable, "-m")
say = partial(print, file=sys.stderr, flush=True)
OFFERED = 200.0  # requests a second that saturate: more than any of them answers, and no denial of service
PROBE = Ask(class_id=7, cfg=4.0, steps=20, seed=11)
SETTLED, SETTLING_SECONDS = 0.05, 20.0  # share of all cores that an idle server takes at most; how long it may not be
STAGES = ("queue", "denoise", "decode", "encode")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Contender:
    """A server in one setting."""

    name: str  # whose it is
    setting: str  # what was chosen, in words
    command: tuple[str, ...]  # starts it; "{port}" stands for the port of a peer
    environment: Mapping[str, str] = field(default_factory=dict)  # beside this process's own
    folder: Path = ROOT  # where it is started: an import takes what lies there
    message_of: Callable[[Ask], bytes] = by_generate  # what is sent

    @property
    def is_ours(self) -> bool:
        return self.name in (OURS, BY_OPENAI, BEFORE)


def ours(model: str) -> list[Contender]:
    """Our service as it comes, which is bfloat16 where the processor has it, and in float32."""
    command = (sys.executable, "-m", "dit_serve", "serve", *FREE_PORTS, "--models", model)
    return [Contender(OURS, AS_IT_COMES, command), Contender(OURS, "float32", (*command, "--dtype", "float32"))]


def asked_by_openai(model: str) -> Contender:
    """Our service as it comes, asked for the same images in OpenAI's words."""
    return replace(ours(model)[0], name=BY_OPENAI, message_of=by_openai)


def before(model: str, checkout: Path) -> Contender:
    """Our service as another checkout has it, with this interpreter: it imports what lies where it starts."""
    module = "dit_serve" if (checkout / "dit_serve").exists() else "service"  # its name until rooms were made
    command = (sys.executable, "-m", module, "serve", *FREE_PORTS, "--models", model)
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
        if contender.is_ours:
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


@dataclass(frozen=True, slots=True)
class Load:
    """What one load on one server gave."""

    traces: list[Trace]  # one a request
    seconds: float  # from the first request to the last answer
    used: NDArray[np.float64]  # shares of all cores' time that the generator, the server and others took meanwhile

    @property
    def images_per_second(self) -> float:
        return (len(self.traces) - self.failures) / self.seconds

    @property
    def failures(self) -> int:
        """Requests that got no image."""
        return sum(not trace.is_served for trace in self.traces)

    def wait(self, share: float) -> float:
        """Seconds that this share of the requests waited at most."""
        return quantile([trace.wait_seconds for trace in self.traces], share)

    def stage_milliseconds(self) -> list[float]:
        """Mean milliseconds of each of our stages, by Server-Timing, and what is left of the mean wait."""
        served = [(trace.wait_seconds, trace.answer) for trace in self.traces if trace.answer and trace.is_served]
        timings = [answer.headers["server-timing"].split(", ") for _, answer in served]
        told = [dict(part.split(";dur=") for part in timing) for timing in timings]
        means = [fmean(float(stages[stage]) for stages in told) for stage in STAGES]
        return [*means, 1e3 * fmean(wait for wait, _ in served) - sum(means)]


class Saturated(NamedTuple):
    """A contender at its limit, and its image of one fixed request."""

    contender: Contender
    load: Load
    png: bytes


def joined(loads: Sequence[Load]) -> Load:
    """What the same load gave at several times, as one."""
    used = np.mean([load.used for load in loads], axis=0)
    return Load([trace for load in loads for trace in load.traces], sum(load.seconds for load in loads), used)


def usage(session: int) -> NDArray[np.float64]:
    """The clock's seconds, and the cores' seconds that this process, a server and everybody took by now.

    A server is its session, and the children of the first of its processes: ours have sessions of their own. A
    measurement on a machine that others use says little; so each says how much of the cores the others took.
    """
    user, nice, system, _idle, _iowait, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])  # proc(5)
    busy = (user + nice + system + sum(rest)) / TICKS_PER_SECOND
    return np.array([time.monotonic(), time.process_time(), sum(_seconds_of(session)), busy])


def _seconds_of(session: int) -> Iterator[float]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()  # from the third on: state, ppid, pgrp, session, …
        except OSError:  # it has ended meanwhile
            continue
        if session in (int(fields[1]), int(fields[3])):
            yield (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def shares(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of all cores' time between two moments: of the generator, of the server and of others."""
    clock, generator, server, busy = after - before
    cores = float(clock) * len(os.sched_getaffinity(0))
    return np.array([generator / cores, server / cores, max(0.0, busy - generator - server) / cores])


async def drive(
    server: Running, contender: Contender, asks: Sequence[Ask], rate: float, source: random.Random
) -> Load:
    """Sends these requests at a rate and measures from the first to the last answer."""
    times, before = poisson_times(rate, len(asks), source), usage(server.process.pid)
    traces = await at_times(times, lambda i, due: ask_one(server.port, asks[i], due, contender.message_of))
    after = usage(server.process.pid)
    return Load(traces, float(after[0] - before[0]), shares(before, after))


async def saturate(contender: Contender, count: int, seed: int = 1) -> Saturated:
    """So many requests at once, the same for every contender with the same seed, after a block of others and a rest."""
    async with running(contender) as server:
        await warm_up(server, contender)
        probe = await ask_one(server.port, PROBE, 0.0, contender.message_of)
        source = random.Random(seed)
        load = await drive(server, contender, balanced_asks(count, source), OFFERED, source)
    say(f"{contender.name}, {contender.setting}: {load.images_per_second:.2f} images/s")
    return Saturated(contender, load, probe.png)


async def at_rates(contender: Contender, rates: Sequence[float], seconds: float, seed: int) -> list[Load]:
    """One load a rate, the same requests for every contender with the same seed."""
    loads = []
    async with running(contender) as server:
        await warm_up(server, contender)
        for rate in rates:
            source = random.Random(seed)
            count = max(1, round(rate * seconds / BLOCK)) * BLOCK
            loads.append(await drive(server, contender, balanced_asks(count, source), rate, source))
            say(f"{contender.name} at {rate:.2f}/s: p50 {loads[-1].wait(0.5):.2f} s, p95 {loads[-1].wait(0.95):.2f} s")
    return loads


async def bare(model: str, count: int, processes: int, seed: int) -> float:
    """Images a second of the bare pipeline at such requests, in processes that share the cores and the requests."""
    command = (sys.executable, "-m", "benchmarks.bare", model, str(count // processes), str(seed))
    env = without_settings() | {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))}
    start = partial(asyncio.create_subprocess_exec, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=env)
    started = [await start() for _ in range(processes)]
    told = [(await process.communicate())[0] for process in started]
    rate = sum(map(float, told))
    say(f"bare pipeline, {processes} process(es): {rate:.2f} images/s")
    return rate


async def warm_up(server: Running, contender: Contender) -> None:
    """A block of requests, and then what a server does once after its start is left to end: it is no part of a load."""
    await drive(server, contender, balanced_asks(BLOCK, random.Random(0)), OFFERED, random.Random(0))
    until, is_settled = time.monotonic() + SETTLING_SECONDS, False
    while not is_settled and time.monotonic() < until:
        before = usage(server.process.pid)
        await asyncio.sleep(1.0)
        is_settled = shares(before, usage(server.process.pid))[1] < SETTLED
