"""R2: clients that go away at random times; their places are free at the next step and nobody else notices."""

from __future__ import annotations

import asyncio
import random

from benchmarks.faults.clients import Clients, Seen, logged_at, step_seconds
from benchmarks.faults.options import Options
from benchmarks.load import in_turn, quantile
from benchmarks.report import Finding, Goal
from tests.service.running import Running, running

TOGETHER = 24
NEIGHBOURS = 4


async def leaving(options: Options) -> Finding:
    with running(options.command("--max-queue-sequences", str(options.queue_sequences))) as server:
        clients = Clients(server)
        alone = [await clients.ask(_body(options, number)) for number in range(NEIGHBOURS)]
        staying = [asyncio.create_task(_stay(options, clients, number)) for number in range(NEIGHBOURS)]
        source = random.Random(2)

        async def go(number: int) -> Seen:  # within about the time that its image takes among the others
            stay, body = source.uniform(0, 3 * alone[0].seconds), _body(options, 1000 + number)
            return await clients.ask_and_leave(body, stay, is_abrupt=number % 2 == 0)

        gone = await in_turn(TOGETHER, range(options.leaving), go)
        left_at = {seen.request_id: seen.ended_at for seen in gone if seen.has_left}
        clients.is_over = True
        pairs = zip(staying, alone, strict=True)
        equals = [each.digest == first.digest != "" for task, first in pairs for each in await task]
        text = f"{equals.count(False)} of {len(equals)} images differ"
        equal = Goal("who stays gets the bytes of an undisturbed run", text, all(equals) and bool(equals))
        goals = (_freed_goal(server, left_at), equal, await _places_goal(options, clients), await clients.check())
    setting = (
        f"{options.model}; {options.leaving} clients, {TOGETHER} at a time, go away after a random time, half with a "
        f"reset and half with an orderly close ({len(left_at)} before their answer began), while {NEIGHBOURS} stay "
        "and ask again and again."
    )
    return Finding("R2 disconnects", setting, goals)


async def _stay(options: Options, clients: Clients, number: int) -> list[Seen]:
    """One client that makes the same request until the others have gone; it waits and tries again if refused."""
    seen = []
    while not clients.is_over:
        found = await clients.ask(_body(options, number))
        if found.status != 429:
            seen.append(found)
        else:
            await asyncio.sleep(0.1)
    return seen


def _freed_goal(server: Running, left_at: dict[str, float]) -> Goal:
    """By the clock, the network included; where there is no card, finished pictures are decoded between two steps."""
    ends = server.find("job_end")
    left = [line for line in ends if line["outcome"] == "cancelled" and line["request_id"] in left_at]
    freed = [max(0.0, logged_at(line) - left_at[line["request_id"]]) for line in left]
    step = step_seconds(server)
    decode = quantile([line["decode_seconds"] for line in ends if line["outcome"] == "completed"], 0.5)
    text = (
        f"p50 {1e3 * quantile(freed, 0.5):.0f} ms, p99 {1e3 * quantile(freed, 0.99):.0f} ms over {len(freed)} jobs, "
        f"a step taking {1e3 * step:.0f} ms and a decoding {1e3 * decode:.0f} ms"
    )
    promise = "a place is free within the time of two steps and a decoding (p99)"
    return Goal(promise, text, bool(freed) and quantile(freed, 0.99) <= 2 * step + decode, is_exact=False)


async def _places_goal(options: Options, clients: Clients) -> Goal:
    """With every place free, requests for exactly all of them are taken at once."""
    bodies = [_body(options, 5000 + number) | {"n": 16} for number in range(options.queue_sequences // 16)]
    seen = await asyncio.gather(*(clients.ask(body, "application/json") for body in bodies))
    taken = sum(each.status == 200 for each in seen)
    text = f"{taken} of {len(bodies)} requests of 16 taken"
    return Goal("no place is leaked: the whole queue can be filled again", text, taken == len(bodies))


def _body(options: Options, number: int) -> dict[str, object]:
    return options.body(number, 20, 1.0)
