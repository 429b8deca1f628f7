"""R4: the worker is killed, crashed or stopped under load; its clients see a longer wait and the same image.

Between two of them the service is ready again and everything that was running in the last one is answered: a job that
is running in two crashes is taken for their cause, and these are nobody's fault.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.faults.clients import Clients, Seen, logged_at
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


async def crash(options: Options) -> Finding:
    with running(options.command()) as server:
        clients, source = Clients(server), random.Random(6)
        undisturbed = await asyncio.gather(*(clients.ask(options.body(number, STEPS)) for number in range(POOL)))
        known = [each.digest for each in undisturbed]
        seen: list[tuple[int, Seen]] = []
        under_way: dict[int, asyncio.Event] = {}

        async def client(place: int) -> None:
            for number in itertools.takewhile(lambda _: not clients.is_over, itertools.count(place, CLIENTS)):
                under_way[place] = asyncio.Event()
                seen.append((number % POOL, await clients.ask(options.body(number % POOL, STEPS))))
                under_way[place].set()

        tasks = [asyncio.create_task(client(place)) for place in range(CLIENTS)]
        back: dict[str, list[float]] = defaultdict(list)
        for kind in itertools.islice(itertools.cycle(SIGNALS), options.crashes):
            back[kind.name].append(await _one_crash(server, kind, source))
            await asyncio.gather(*(event.wait() for event in list(under_way.values())))  # what it hit is answered
        clients.is_over = True
        await asyncio.gather(*tasks)
        admitted = [(each, known[number]) for number, each in seen if each.status != 429]
        goals = _goals(admitted, back, len(server.find("worker_ended")))
        if options.model == "fake":
            goals.append(await _quarantine(clients))
        goals.append(await clients.check())
    setting = (
        f"{options.model}; {options.crashes} signals, {', '.join(kind.name for kind in SIGNALS)} in turn, to the "
        f"worker, each at a random moment while images are being made, {CLIENTS} clients asking again at once; time "
        "until it is ready again counts from the signal, a hang's detection with it."
    )
    return Finding("R4 worker killed", setting, tuple(goals))


async def _one_crash(server: Running, kind: signal.Signals, source: random.Random) -> float:
    """Seconds from the signal, at a random moment while images are made, until the service was ready again."""
    await asyncio.to_thread(server.wait_for_event, "job_started", len(server.seen))
    await asyncio.sleep(source.uniform(0, 0.3))
    pid, since, hit_at = server.find("ready")[-1]["worker_pid"], len(server.seen), time.time()
    os.kill(pid, kind)
    return logged_at(await asyncio.to_thread(server.wait_for_event, "ready", since)) - hit_at


def _goals(admitted: Sequence[tuple[Seen, str]], back: dict[str, list[float]], ended: int) -> list[Goal]:
    lost = [each for each, _ in admitted if each.status != 200]
    different = sum(each.digest != known for each, known in admitted if each.status == 200)
    crashes = sum(map(len, back.values()))
    first = f", the first with status {lost[0].status}" if lost else ""
    same = "every image has the bytes of an undisturbed run"
    goals = [
        Goal("no admitted job is lost", f"{len(lost)} of {len(admitted)}{first}", not lost),
        Goal(same, f"{different} of {len(admitted) - len(lost)} differ", not different),
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

