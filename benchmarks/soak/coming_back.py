"""Whether the advice in Retry-After is good: long jobs fill the queue, and small clients come back when they are told.

A client that comes back too early is refused again and asks for nothing in vain; so what counts is how many were let
in the first time that they came back.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.soak.clients import JSON, PATH, PNG, Clients
from benchmarks.soak.scrape import PACE_SECONDS, scrape, scrape_when_idle
from benchmarks.soak.seen import Seen
from tests.service.running import Running

ACCEPTED = "dit_jobs_accepted_total"
IMAGES = 16  # of a long request, each guided: two places
SMALL_CLIENTS = 20
ARRIVING_SECONDS = 3.0
MOST_RETURNS = 100
SMALL = {"class_id": 3, "cfg": 1, "steps": 5, "seed": 3}


@dataclass(frozen=True, slots=True)
class Return:
    """One small client that was refused at first."""

    told_seconds: float  # when it was told to come back the first time
    waited_seconds: float  # from its first request until it was let in
    returns: int  # how often it came back until then


@dataclass(frozen=True, slots=True)
class ComingBack:
    """What became of all small clients."""

    returns: list[Return]
    let_in_at_once: int
    long_seconds: float  # until the last long job was done

    @property
    def first_time(self) -> int:
        """How many were let in when they first came back."""
        return sum(each.returns == 1 for each in self.returns)


async def come_back(server: Running, clients: Clients, seen: Seen, steps: int) -> ComingBack:
    """Fills the queue with long jobs of so many steps, and sends the small clients."""
    began, source, idle = time.monotonic(), random.Random(7), await scrape_when_idle(server)
    count = int(idle.total("dit_queue_bound_sequences")) // (2 * IMAGES)
    long = [asyncio.create_task(_long(clients, seen, steps, number)) for number in range(count)]
    wanted = idle.total(ACCEPTED) + count * IMAGES
    while (await scrape(server)).total(ACCEPTED) < wanted and not any(task.done() for task in long):
        await asyncio.sleep(PACE_SECONDS)
    delays = [source.uniform(0, ARRIVING_SECONDS) for _ in range(SMALL_CLIENTS)]
    found = await asyncio.gather(*(_small(clients, seen, delay) for delay in delays))
    await asyncio.gather(*long)
    returns = [each for each in found if each is not None]
    return ComingBack(returns, len(found) - len(returns), time.monotonic() - began)


async def _long(clients: Clients, seen: Seen, steps: int, number: int) -> None:
    body = {"class_id": number % 10, "cfg": 4, "steps": steps, "seed": number, "n": IMAGES}
    answer = await clients.json("long", body, {"Accept": JSON})
    if answer:
        seen.answer("long", PATH, answer.status, {200})


async def _small(clients: Clients, seen: Seen, delay: float) -> Return | None:
    """None if it was let in at once, or was given up."""
    await asyncio.sleep(delay)
    began, first = time.monotonic(), 0.0
    for returns in range(MOST_RETURNS):
        sent_at = time.monotonic()
        answer = await clients.json("small", SMALL, {"Accept": PNG})
        if not answer or not seen.answer("small", PATH, answer.status, {200, 429, 503}):
            return None
        if answer.status == 200:
            return Return(first, sent_at - began, returns) if returns else None
        if "retry-after" not in answer.headers:
            seen.surprises.append(f"small: {answer.status} without Retry-After")
            return None
        told = float(answer.headers["retry-after"])
        first = first or told
        await asyncio.sleep(told)
    seen.surprises.append(f"small: refused {MOST_RETURNS} times")
    return None
