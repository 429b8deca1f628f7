"""The open-loop load: who asks what and when, and how long each waited.

Arrivals are a Poisson process fixed in advance; a slow server does not slow them down, and a wait is counted from the
moment when a request was *due*, not when it was sent, so that a stalled generator cannot hide a wait ("coordinated
omission"). What is asked is balanced: every nine requests hold each (steps, cfg) once, in random order, so that any
long part of the load asks for the same work. Knows no server and prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, product
from typing import Any, TypeVar

from benchmarks.client import Answer, NoAnswer, request_bytes, send

STEPS = (10, 20, 50)
CFGS = (1.0, 1.5, 4.0)
BLOCK = len(STEPS) * len(CFGS)
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One image that is asked for: the fields of the JSON that all the servers take."""

    class_id: int
    cfg: float
    steps: int
    seed: int

    @property
    def sequences(self) -> int:
        """Rows of the network's batch: two if guided."""
        return 1 if self.cfg == 1 else 2


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one request."""

    wait_seconds: float  # from the moment when it was due to the end of the answer
    answer: Answer | None  # None if none came

    @property
    def is_served(self) -> bool:
        return self.answer is not None and self.answer.status == 200


def balanced_asks(count: int, source: random.Random, classes: int = 10) -> list[Ask]:
    """Requests of which every block of nine holds each (steps, cfg) once."""
    asks: list[Ask] = []
    while len(asks) < count:
        block = source.sample(list(product(STEPS, CFGS)), BLOCK)
        asks += [Ask(source.randrange(classes), cfg, steps, source.randrange(2**31)) for steps, cfg in block]
    return asks[:count]


def poisson_times(rate: float, count: int, source: random.Random) -> list[float]:
    """Seconds after the start at which requests arrive, `rate` a second on average."""
    return list(accumulate(source.expovariate(rate) for _ in range(count)))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1e6) // 1_000_000) - 1)]


async def ask_one(port: int, ask: Ask, due: float) -> Trace:
    """One request now, followed to its end."""
    message = request_bytes("POST", "/generate", json.dumps(asdict(ask)).encode(), {"Accept": "image/png"})
    answer = None
    with contextlib.suppress(NoAnswer):
        answer = await send(port, message)
    return Trace(time.monotonic() - due, answer)


async def at_times(times: Sequence[float], begin: Callable[[int, float], Coroutine[Any, Any, T]]) -> list[T]:
    """What the tasks give that are begun at each of these times, in seconds from now, whatever became of others."""
    origin = time.monotonic()
    tasks = []
    for i, seconds in enumerate(times):
        if (early := origin + seconds - time.monotonic()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(begin(i, origin + seconds)))
    return list(await asyncio.gather(*tasks))


async def in_turn(count: int, work: Iterable[S], one: Callable[[S], Coroutine[Any, Any, T]]) -> list[T]:
    """What so many clients find that share the work, each taking the next as soon as it is done with the last."""
    waiting, found = iter(work), list[T]()

    async def client() -> None:
        for each in waiting:
            found.append(await one(each))

    await asyncio.gather(*(client() for _ in range(count)))
    return found
