"""R17: the host fails, not the service: the process in reserve hangs, all are paused, no descriptors are left.

One server goes through all three. The client that takes the descriptors has an address of its own, as a client has.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.faults.clients import Clients, Seen, logged_at
from benchmarks.faults.crash import BACK_SECONDS
from benchmarks.faults.options import Options
from benchmarks.load import LOOPBACK, NoAnswer, get
from benchmarks.report import Finding, Goal
from benchmarks.soak.scrape import PACE_SECONDS, scrape
from tests.service.running import PATIENCE_SECONDS, Running, running

STEPS = 50
FLOODER = "127.0.0.2"
BEYOND = 36  # connections more than there are descriptors
PROBES, PROBE_SECONDS = 20, 3.0
DEADLINE_FACTOR, DEADLINES = 10, 3  # of what an image took before the pause; how many ask with it after the pause


async def host(options: Options) -> Finding:
    """R17, whose server may open as many files as the options say."""
    limited = ["sh", "-c", f'ulimit -n {options.descriptors} && exec "$@"', "sh", *options.command()]
    with running(limited) as server:
        clients, body = Clients(server), options.body(1, STEPS)
        alone = [await clients.ask(body) for _ in range(2)][-1]  # the first one is slower
        goals = [
            *await _reserve_hangs(clients, body, alone),
            *await _paused(clients, body, alone, options.pause_seconds),
            *await _flooded(clients, body, alone, options.descriptors + BEYOND),
            await clients.check(),
        ]
    setting = (
        f"{options.model}; the process in reserve stopped, then the worker killed; every process stopped for "
        f"{options.pause_seconds:g} s in an image; {options.descriptors} open files allowed, and "
        f"{options.descriptors + BEYOND} connections that say nothing and come again when they are closed, the worker "
        "killed meanwhile."
    )
    return Finding("R17 the host fails", setting, tuple(goals))


async def _reserve_hangs(clients: Clients, body: dict[str, object], alone: Seen) -> list[Goal]:
    server = clients.server
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await scrape(server)).total("dit_standby_up"):
                await asyncio.sleep(PACE_SECONDS)
    worker = _worker(server)
    reserve = [pid for pid in _children(server) if pid != worker]
    _signal(reserve, signal.SIGSTOP)
    asked, since, hit_at = await _begin(clients, body), len(server.seen), time.time()
    os.kill(worker, signal.SIGKILL)
    back = math.inf
    with contextlib.suppress(TimeoutError):
        back = logged_at(await asyncio.to_thread(server.wait_for_event, "ready", since)) - hit_at
    _signal(reserve, signal.SIGCONT)  # if it was relied on, what comes after need not wait as well
    seen = await asked
    promise = f"who hangs in reserve is not relied on: ready again within {PATIENCE_SECONDS:g} s"
    return [
        Goal(promise, f"{back:.2f} s, status {seen.status}", back < math.inf and _same(seen, alone)),
        Goal(f"within {BACK_SECONDS:g} s", f"{back:.2f} s", back <= BACK_SECONDS, is_exact=False),
    ]


async def _paused(clients: Clients, body: dict[str, object], alone: Seen, seconds: float) -> list[Goal]:
    server, ended = clients.server, len(clients.server.find("worker_ended"))
    asked = await _begin(clients, body)
    processes = [server.process.pid, *_children(server)]
    _signal(processes, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    _signal(processes[::-1], signal.SIGCONT)
    seen = await asked
    deadline = {"deadline_ms": round(1e3 * DEADLINE_FACTOR * alone.seconds)}
    statuses = [(await clients.ask(body | deadline)).status for _ in range(DEADLINES)]
    lost = len(server.find("worker_ended")) - ended
    return [
        Goal("an image that was under way in a pause is the same", f"status {seen.status}", _same(seen, alone)),
        Goal(f"after it, deadlines of {DEADLINE_FACTOR} times what an image takes are taken", f"statuses {statuses}",
             statuses == DEADLINES * [200]),
        Goal("no worker is taken for hung", f"{lost} ended", not lost, is_exact=False),
    ]


async def _flooded(clients: Clients, body: dict[str, object], alone: Seen, count: int) -> list[Goal]:
    asked = await _begin(clients, body | {"steps": 2 * STEPS})
    async with _silent_connections(clients.server.port, count):
        os.kill(_worker(clients.server), signal.SIGKILL)
        answers = [await _is_live(clients.server.port) for _ in range(PROBES)]
        seen, other = await asked, await clients.ask(body)
    text = f"status {seen.status}, and {other.status} of one that was asked meanwhile"
    return [
        Goal("/livez answers while one client opens all that it can", f"{sum(answers)} of {PROBES}", all(answers)),
        Goal("a worker killed meanwhile is replaced, and admits and loses no job", text,
             seen.status == other.status == 200 and other.digest == alone.digest),
    ]


async def _begin(clients: Clients, body: dict[str, object]) -> asyncio.Task[Seen]:
    """A request whose image is being made."""
    since = len(clients.server.seen)
    asked = asyncio.create_task(clients.ask(body))
    await asyncio.to_thread(clients.server.wait_for_event, "job_started", since)
    return asked


@contextlib.asynccontextmanager
async def _silent_connections(port: int, count: int) -> AsyncIterator[None]:
    """So many, each opened again when it is closed; there once each has been tried."""
    tried, all_tried = 0, asyncio.Event()

    async def hold() -> None:
        nonlocal tried
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(FLOODER, 0))
                tried += 1
                if tried == count:
                    all_tried.set()
                try:
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(PACE_SECONDS)

    tasks = [asyncio.create_task(hold()) for _ in range(count)]
    try:
        await asyncio.wait_for(all_tried.wait(), PATIENCE_SECONDS)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _signal(processes: Sequence[int], kind: signal.Signals) -> None:
    """To each that is still there."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)


async def _is_live(port: int) -> bool:
    try:
        return (await asyncio.wait_for(get(port, "/livez"), PROBE_SECONDS)).status == 200
    except (NoAnswer, TimeoutError):
        return False


def _same(seen: Seen, alone: Seen) -> bool:
    return seen.status == 200 and seen.digest == alone.digest


def _worker(server: Running) -> int:
    return int(server.find("ready")[-1]["worker_pid"])


def _children(server: Running) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
