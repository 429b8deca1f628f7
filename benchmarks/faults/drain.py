"""R3: SIGTERM under load with open streams; everything admitted is finished, then the process ends with status 0."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from dataclasses import dataclass, field, replace

from benchmarks.accounting import account
from benchmarks.client import NoAnswer, get
from benchmarks.faults.clients import Clients
from benchmarks.faults.options import Options
from benchmarks.report import Finding, Goal
from tests.service.running import Running, running

PLAIN, STREAMS, LATE = 4, 4, 3
STEPS = 50


@dataclass(slots=True)
class Ends:
    """What all the rounds came to."""

    statuses: Counter[int] = field(default_factory=Counter)
    ready_during: Counter[int] = field(default_factory=Counter)
    late: Counter[int] = field(default_factory=Counter)
    plain: Counter[int] = field(default_factory=Counter)
    streams: Counter[int] = field(default_factory=Counter)
    received: int = 0
    differences: list[str] = field(default_factory=list)


async def drain(options: Options) -> Finding:
    """R3."""
    options = replace(options, model=options.drain_model)
    ends = Ends()
    source = random.Random(4)
    for number in range(options.terminations):
        await _one_round(options, ends, source, number)
    rounds = options.terminations
    goals = (
        Goal("exit status 0", f"{ends.statuses[0]} of {rounds}", ends.statuses[0] == rounds),
        Goal("/readyz says 503 while it drains", _counted(ends.ready_during), set(ends.ready_during) == {503}),
        Goal("work that comes later is refused with 503", _counted(ends.late), set(ends.late) == {503}),
        Goal("every admitted request gets its image", _counted(ends.plain), ends.plain == {200: PLAIN * rounds}),
        Goal("every open stream ends with its last event", _counted(ends.streams),
             ends.streams == {200: STREAMS * rounds}),
        Goal("R9: the server's log and the clients say the same of every request",
             f"{len(ends.differences)} of {ends.received} differ {ends.differences[:1] or ''}", not ends.differences),
    )
    setting = (
        f"{options.model}; {rounds} servers, each with {PLAIN} requests and {STREAMS} streams open when SIGTERM comes, "
        f"at a random moment after all were begun; then {LATE} more requests."
    )
    return Finding("R3 drain", setting, goals)


async def _one_round(options: Options, ends: Ends, source: random.Random, number: int) -> None:
    with running(options.command()) as server:
        clients = Clients(server)
        bodies = [options.body(PLAIN * number + each, STEPS) for each in range(PLAIN + STREAMS)]
        plain = [asyncio.create_task(clients.ask(body)) for body in bodies[:PLAIN]]
        streams = [asyncio.create_task(clients.ask(body, "text/event-stream")) for body in bodies[PLAIN:]]
        await asyncio.to_thread(_wait_until_all_begin, server)
        await asyncio.sleep(source.uniform(0, 0.2))
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_event, "draining")
        await _late_work(options, clients, ends)
        for counter, tasks in ((ends.plain, plain), (ends.streams, streams)):
            counter.update([seen.status for seen in await asyncio.gather(*tasks)])
        ends.statuses[server.finish()] += 1
        books = account(server.seen, clients.seen)
        ends.received += books.received
        ends.differences += books.differences


def _wait_until_all_begin(server: Running) -> None:
    """Returns when all jobs have been begun: what is only on its way might find the door closed."""
    for _ in range(PLAIN + STREAMS):
        server.wait_for_event("job_started")


async def _late_work(options: Options, clients: Clients, ends: Ends) -> None:
    """What comes while the server drains; it may have finished by then, which counts as nothing."""
    try:
        ends.ready_during[(await get(clients.server.port, "/readyz")).status] += 1
    except NoAnswer:
        return
    for number in range(LATE):
        late = await clients.ask(options.body(number, STEPS))
        if late.status:
            ends.late[late.status] += 1
        else:  # no longer listening: never received
            clients.seen.remove(late)


def _counted(counter: Counter[int]) -> str:
    return ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(counter.items())) or "none"

