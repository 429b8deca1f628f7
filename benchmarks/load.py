"""The open-loop load: who asks what and when, and how long each waited.

Arrivals are a Poisson process fixed in advance; a slow server does not slow them down, and a wait is counted from the
moment when a request was *due*, not when it was sent, so that a stalled generator cannot hide a wait ("coordinated
omission"). What is asked is balanced: every nine requests hold each (steps, cfg) once, in random order, so that any
long part of the load asks for the same work. Knows no server and prints nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmarks.client import Address, Answer, NoAnswer, request_bytes, send

STEPS = (10, 20, 50)
CFGS = (1.0, 1.5, 4.0)
BLOCK = len(STEPS) * len(CFGS)


@dataclass(frozen=True, slots=True)
class Ask:
    """One image that is asked for."""

    class_id: int
    cfg: float
    steps: int
    seed: int

    @property
    def sequences(self) -> int:
        """Rows of the network's batch: two if guided."""
        return 1 if self.cfg == 1 else 2

    @property
    def body(self) -> bytes:
        """The JSON that all the servers take."""
        fields = {"class_id": self.class_id, "cfg": self.cfg, "steps": self.steps, "seed": self.seed}
        return json.dumps(fields).encode()


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one request; times are of `time.monotonic`, status 0 is no answer."""

    ask: Ask
    request_id: str
    due: float
    sent: float
    ended: float
    status: int
    answer: Answer | None = None

    @property
    def wait_seconds(self) -> float:
        """From the moment when it was due to the end of the answer."""
        return self.ended - self.due


def balanced_asks(count: int, source: random.Random, classes: int = 10) -> list[Ask]:
    """Requests of which every block of nine holds each (steps, cfg) once."""
    asks: list[Ask] = []
    while len(asks) < count:
        block = list(product(STEPS, CFGS))
        source.shuffle(block)
        asks += [Ask(source.randrange(classes), cfg, steps, source.randrange(2**31)) for steps, cfg in block]
    return asks[:count]


def poisson_times(rate: float, count: int, source: random.Random) -> list[float]:
    """Seconds after the start at which requests arrive, `rate` a second on average."""
    times, now = [], 0.0
    for _ in range(count):
        now += source.expovariate(rate)
        times.append(now)
    return times


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1e6) // 1_000_000) - 1)]


async def ask_one(address: Address, ask: Ask, request_id: str, due: float | None = None) -> Trace:
    """Sends one request now and follows it to its end; the connection's failure is status 0."""
    sent = time.monotonic()
    message = request_bytes("POST", "/generate", ask.body, {"Accept": "image/png", "X-Request-Id": request_id})
    try:
        answer = await send(address, message)
    except NoAnswer:
        return Trace(ask, request_id, sent if due is None else due, sent, time.monotonic(), 0)
    return Trace(ask, request_id, sent if due is None else due, sent, time.monotonic(), answer.status, answer)


async def open_loop(
    address: Address, asks: Sequence[Ask], times: Sequence[float], prefix: str = "load"
) -> list[Trace]:
    """Sends every request at its time, whatever became of those before; returns when all are answered."""

    def one(i: int, due: float) -> Coroutine[Any, Any, Trace]:
        return ask_one(address, asks[i], f"{prefix}-{i}", due)

    return await at_times(times, one)


async def at_times(times: Sequence[float], begin: Callable[[int, float], Coroutine[Any, Any, Trace]]) -> list[Trace]:
    """Begins one task at each of these times, in seconds from now, and waits for all of them."""
    origin = time.monotonic()
    tasks = []
    for i, seconds in enumerate(times):
        if (early := origin + seconds - time.monotonic()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(begin(i, origin + seconds)))
    return list(await asyncio.gather(*tasks))
