"""R4: the worker is killed, crashed or stopped under load; its clients see a longer wait and the same image.

Between two of them the service is ready again and everything that was running in the last one is answered: a job that
is running in two crashes is taken for their cause, and these are nobody's fault.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.accounting import Seen
from benchmarks.faults.clients import Clients, logged_at
from benchmarks.faults.options import Options
from benchmarks.load import quantile
from benchmarks.report import Finding, Goal
from tests.service.fake import KILLS
from tests.service.running import Running, running

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
CLIENTS = 4
POOL = 12
STEPS = 20
BACK_SECONDS = 5.0


@dataclass(slots=True)
class Load:
    """Clients that ask again at once, for images whose bytes are known."""

    options: Options
    clients: Clients
    known: dict[int, str]  # digest of each number's image, from before
    is_over: bool = False
    under_way: dict[int, asyncio.Event] = field(default_factory=dict)
    seen: list[tuple[int, Seen]] = field(default_factory=list)

    async def client(self, place: int) -> None:
        number = place
        while not self.is_over:
            self.under_way[place] = asyncio.Event()
            self.seen.append((number, await self.clients.ask(self.options.body(number, STEPS))))
            self.under_way[place].set()
            number = (number + CLIENTS) % POOL


async def crash(options: Options) -> Finding:
    """R4."""
    with running(options.command()) as server:
        clients = Clients(server)
        known = {number: (await clients.ask(options.body(number, STEPS))).digest for number in range(POOL)}
        load = Load(options, clients, known)
        tasks = [asyncio.create_task(load.client(place)) for place in range(CLIENTS)]
        source = random.Random(6)
        back: dict[str, list[float]] = defaultdict(list)
        for number in range(options.crashes):
            kind = SIGNALS[number % len(SIGNALS)]
            back[kind.name].append(await _one_crash(server, load, kind, source))
        load.is_over = True
        await asyncio.gather(*tasks)
        goals = _goals(load, back, len(server.find("worker_ended")))
        if options.is_fake:
            goals.append(await _quarantine(clients))
        goals.append(await clients.check())
    setting = (
        f"{options.model}; {options.crashes} signals, {', '.join(kind.name for kind in SIGNALS)} in turn, to the "
        f"worker, each at a random moment while images are being made, {CLIENTS} clients asking again at once; time "
        "until it is ready again counts from the signal, a hang's detection with it."
    )
    return Finding("R4 worker killed", setting, tuple(goals))


async def _one_crash(server: Running, load: Load, kind: signal.Signals, source: random.Random) -> float:
    """Seconds from the signal until the service was ready again; returns when what it hit has been answered."""
    await asyncio.to_thread(server.wait_for_event, "job_started", len(server.seen))
    await asyncio.sleep(source.uniform(0, 0.3))
    pid = server.find("ready")[-1]["worker_pid"]
    since, hit_at = len(server.seen), time.time()
    os.kill(pid, kind)
    ready = await asyncio.to_thread(server.wait_for_event, "ready", since)
    await asyncio.gather(*(event.wait() for event in list(load.under_way.values())))
    return logged_at(ready) - hit_at


def _goals(load: Load, back: dict[str, list[float]], ended: int) -> list[Goal]:
    seen = [(number, each) for number, each in load.seen if each.status != 429]
    lost = [each for _, each in seen if each.status != 200]
    different = sum(each.digest != load.known[number] for number, each in seen if each.status == 200)
    crashes = sum(map(len, back.values()))
    first = f", the first with status {lost[0].status}" if lost else ""
    same = "every image has the bytes of an undisturbed run"
    goals = [
        Goal("no admitted job is lost", f"{len(lost)} of {len(seen)}{first}", not lost),
        Goal(same, f"{different} of {len(seen) - len(lost)} differ", not different),
        Goal("each signal ends one worker", f"{ended} ended by {crashes} signals", ended == crashes),
    ]
    for name, seconds in back.items():
        text = f"p50 {quantile(seconds, 0.5):.2f} s, worst {max(seconds):.2f} s of {len(seconds)}"
        promise = f"{name}: ready again within {BACK_SECONDS:.0f} s"
        goals.append(Goal(promise, text, max(seconds) <= BACK_SECONDS, is_exact=False))
    return goals


async def _quarantine(clients: Clients) -> Goal:
    """A job that ends every worker fails alone, after the second."""
    bodies = [{"class_id": KILLS, "steps": 5}, *({"class_id": 1, "steps": 50} for _ in range(CLIENTS))]
    killer, *others = await asyncio.gather(*(clients.ask(body) for body in bodies))
    statuses = [each.status for each in others]
    text = f"status {killer.status}, its neighbours {statuses}"
    return Goal("a job that ends two workers fails alone", text, killer.status == 500 and set(statuses) == {200})

