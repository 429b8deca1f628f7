"""R3: SIGTERM under load with open streams; everything admitted is finished, then the process ends with status 0."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter, defaultdict
from dataclasses import replace

from benchmarks.faults.clients import Clients, account
from benchmarks.faults.options import Options
from benchmarks.load import NoAnswer, get
from benchmarks.report import Finding, Goal
from tests.service.running import running

PLAIN, STREAMS, LATE = 4, 4, 3
STEPS = 50
Statuses = defaultdict[str, Counter[int]]  # of what all the rounds came to, by what was asked


async def drain(options: Options) -> Finding:
    options, rounds = replace(options, model=options.drain_model), options.terminations
    found, received, differences = Statuses(Counter), 0, list[str]()
    source = random.Random(4)
    for number in range(rounds):
        with running(options.command()) as server:
            clients = Clients(server)
            bodies = [options.body(PLAIN * number + each, STEPS) for each in range(PLAIN + STREAMS)]
            asked = [("plain", clients.ask(body)) for body in bodies[:PLAIN]]
            asked += [("streams", clients.ask(body, "text/event-stream")) for body in bodies[PLAIN:]]
            tasks = [(kind, asyncio.create_task(work)) for kind, work in asked]
            for _ in tasks:  # what is only on its way might find the door closed
                await asyncio.to_thread(server.wait_for_event, "job_started")
            await asyncio.sleep(source.uniform(0, 0.2))
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for_event, "draining")
            await _late_work(options, clients, found)
            for kind, task in tasks:
                found[kind][(await task).status] += 1
            found["exit"][server.finish()] += 1
            books = account(server.seen, clients.seen)
            received, differences = received + books.received, [*differences, *books.differences]
    texts = {kind: ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(counts.items())) or "none"
             for kind, counts in found.items()}
    differ = f"{len(differences)} of {received} differ {differences[:1] or ''}"
    goals = (
        Goal("exit status 0", f"{found['exit'][0]} of {rounds}", found["exit"][0] == rounds),
        Goal("/readyz says 503 while it drains", texts["ready"], set(found["ready"]) == {503}),
        Goal("work that comes later is refused with 503", texts["late"], set(found["late"]) == {503}),
        Goal("every admitted request gets its image", texts["plain"], found["plain"] == {200: PLAIN * rounds}),
        Goal("every open stream ends with its last event", texts["streams"],
             found["streams"] == {200: STREAMS * rounds}),
        Goal("R9: the server's log and the clients say the same of every request", differ, not differences),
    )
    setting = (
        f"{options.model}; {rounds} servers, each with {PLAIN} requests and {STREAMS} streams open when SIGTERM comes, "
        f"at a random moment after all were begun; then {LATE} more requests."
    )
    return Finding("R3 drain", setting, goals)


async def _late_work(options: Options, clients: Clients, found: Statuses) -> None:
    """What comes while the server drains; it may have finished by then, which counts as nothing."""
    late, ready = found["late"], found["ready"]
    try:
        ready[(await get(clients.server.port, "/readyz")).status] += 1
    except NoAnswer:
        return
    for number in range(LATE):
        seen = await clients.ask(options.body(number, STEPS))
        if seen.status:
            late[seen.status] += 1
        else:  # no longer listening: never received
            clients.seen.remove(seen)
