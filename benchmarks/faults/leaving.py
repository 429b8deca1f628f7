"""R2: clients that go away at random times; their places are free at the next step and nobody else notices."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from benchmarks.accounting import Seen
from benchmarks.faults.clients import Clients, logged_at, step_seconds
from benchmarks.faults.options import Options
from benchmarks.load import in_turn, quantile
from benchmarks.report import Finding, Goal
from tests.service.running import Line, Running, running

TOGETHER = 24
NEIGHBOURS = 4
STEPS = 20


async def leaving(options: Options) -> Finding:
    """R2."""
    with running(options.command("--max-queue-sequences", str(options.queue_sequences))) as server:
        clients = Clients(server)
        alone = [await clients.ask(options.body(number, STEPS, 1.0)) for number in range(NEIGHBOURS)]
        left_at: dict[str, float] = {}
        done = asyncio.Event()
        staying = [asyncio.create_task(_stay(options, clients, number, done)) for number in range(NEIGHBOURS)]
        await _leave_all(options, clients, left_at, alone[0].seconds)
        done.set()
        stayed = [await task for task in staying]
        goals = (
            _steps_goal(server, left_at),
            _freed_goal(server, left_at),
            _equal_goal(alone, stayed),
            await _places_goal(options, clients),
            await clients.check(),
        )
    gone = sum(each.has_left for each in clients.seen)
    setting = (
        f"{options.model}; {options.leaving} clients, {TOGETHER} at a time, go away after a random time, half with a "
        f"reset and half with an orderly close ({gone} before their answer began), while {NEIGHBOURS} stay and ask "
        "again and again."
    )
    return Finding("R2 disconnects", setting, goals)


async def _leave_all(options: Options, clients: Clients, left_at: dict[str, float], seconds: float) -> None:
    """All the clients that leave, each within about the time that its image would take among the others."""
    source = random.Random(2)

    async def one(number: int) -> None:
        stay, body = source.uniform(0, 3 * seconds), options.body(1000 + number, STEPS, 1.0)
        seen = await clients.ask_and_leave(body, stay, is_abrupt=number % 2 == 0)
        if seen.has_left:
            left_at[seen.request_id] = seen.ended_at

    await in_turn(TOGETHER, range(options.leaving), one)


async def _stay(options: Options, clients: Clients, number: int, done: asyncio.Event) -> list[Seen]:
    """One client that makes the same request until the others have gone; it waits and tries again if refused."""
    seen = []
    while not done.is_set():
        found = await clients.ask(options.body(number, STEPS, 1.0))
        if found.status != 429:
            seen.append(found)
        else:
            await asyncio.sleep(0.1)
    return seen


def _freed_goal(server: Running, left_at: dict[str, float]) -> Goal:
    """By the clock, the network included; where there is no card, finished pictures are decoded between two steps."""
    freed = [max(0.0, logged_at(line) - left_at[line["request_id"]]) for line in _left(server, left_at)]
    step = step_seconds(server)
    completed = [line for line in server.find("job_end") if line["outcome"] == "completed"]
    decode = quantile([line["decode_seconds"] for line in completed], 0.5)
    text = (
        f"p50 {1e3 * quantile(freed, 0.5):.0f} ms, p99 {1e3 * quantile(freed, 0.99):.0f} ms over {len(freed)} jobs, "
        f"a step taking {1e3 * step:.0f} ms and a decoding {1e3 * decode:.0f} ms"
    )
    promise = "a place is free within the time of two steps and a decoding (p99)"
    return Goal(promise, text, quantile(freed, 0.99) <= 2 * step + decode, is_exact=False)


def _steps_goal(server: Running, left_at: dict[str, float]) -> Goal:
    """By the engine's count: the step under way, and one more where its predecessor's news was still on its way."""
    steps = Counter(line["steps_after_given_up"] for line in _left(server, left_at))
    text = ", ".join(f"{count} after {number}" for number, count in sorted(steps.items())) or "nobody left"
    return Goal("a place is free after the step under way", text, bool(steps) and max(steps) <= 2)


def _left(server: Running, left_at: dict[str, float]) -> list[Line]:
    """The ends of the jobs whose clients went away."""
    ends = server.find("job_end")
    return [line for line in ends if line["outcome"] == "cancelled" and line["request_id"] in left_at]


def _equal_goal(alone: Sequence[Seen], stayed: Sequence[Sequence[Seen]]) -> Goal:
    images = [(seen.digest, alone[number].digest) for number, found in enumerate(stayed) for seen in found]
    different = sum(mine != reference or not mine for mine, reference in images)
    text = f"{different} of {len(images)} images differ"
    return Goal("who stays gets the bytes of an undisturbed run", text, bool(images) and not different)


async def _places_goal(options: Options, clients: Clients) -> Goal:
    """With every place free, requests for exactly all of them are taken at once."""
    bodies = [options.body(5000 + number, STEPS, 1.0) | {"n": 16} for number in range(options.queue_sequences // 16)]
    seen = await asyncio.gather(*(clients.ask(body, "application/json") for body in bodies))
    taken = sum(each.status == 200 for each in seen)
    text = f"{taken} of {len(bodies)} requests of 16 taken"
    return Goal("no place is leaked: the whole queue can be filled again", text, taken == len(bodies))

