"""R1: ten times as many requests as the service can do; the bound is exact and nobody waits in vain.

Every 429 says how many sequences are taken, how many may be, and how many it needed: that is checked for each.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.clients import Clients, Seen, step_seconds
from benchmarks.faults.options import Options
from benchmarks.load import Ask, at_times, balanced_asks, poisson_times, quantile
from benchmarks.report import Finding, Goal
from tests.service.running import Running, running

BOUND = re.compile(r"(\d+) of (\d+) sequences are taken and this request needs (\d+)")
PEAK_IMAGES_A_PLACE = 4
BATCH = 16  # sequences, as the server is told


@dataclass(frozen=True, slots=True)
class Rush:
    """What a rush of requests came to."""

    asks: list[Ask]  # what was asked
    seen: list[Seen]  # what became of each, in the same order
    seconds: float  # until the last was answered

    def with_status(self, status: int) -> list[Seen]:
        """Those that were answered so."""
        return [each for each in self.seen if each.status == status]

    @property
    def served(self) -> list[Ask]:
        """What was answered with an image."""
        return [ask for ask, seen in zip(self.asks, self.seen, strict=True) if seen.status == 200]

    def per_second(self, worth: Callable[[Ask], int]) -> float:
        """What was completed, by its worth, over the whole time."""
        return sum(map(worth, self.served)) / self.seconds


async def overload(options: Options) -> Finding:
    """R1."""
    flags = ("--max-queue-sequences", str(options.queue_sequences), "--max-batch-sequences", str(BATCH))
    with running(options.command(*flags)) as server:
        clients = Clients(server)
        await asyncio.gather(*(clients.ask(_body(options, ask)) for ask in _asks(5, 1)))  # the first ones are slower
        rate = 10 * await _peak_rate(options, clients)
        memory = _memory(server)
        since, floods, calms = len(server.seen), [], []
        for _ in range(options.overload_rounds):
            floods.append(await _flood(options, clients, rate))
            calms.append(await _without_refusals(options, clients, floods[-1].served))
        flood, calm = _together(floods), _together(calms)
        step = step_seconds(server, since)
        grown = max(0.0, _memory(server) / memory - 1)
        goals = [*_goals(options.queue_sequences, flood, calm, grown), await clients.check()]
    setting = (
        f"{options.model}; {options.overload_rounds} times open-loop Poisson, {rate:.0f} requests a second for "
        f"{options.overload_seconds:.0f} s ({len(flood.seen)} requests, {flood.seconds:.1f} s in all until the last "
        f"answers), mixed steps and cfg. A step of a full batch takes {1e3 * step:.1f} ms. "
        "A guided image needs two places and an unguided one, so "
        "an overload admits more of the latter, and more of the time goes to decoding. So the peak is what the same "
        f"images take when {options.queue_sequences // 2} clients ask for them, each again at once, after each flood."
    )
    return Finding("R1 overload", setting, tuple(goals))


async def _peak_rate(options: Options, clients: Clients) -> float:
    """Images a second with a queue that is full and refuses nothing."""
    peak = await _without_refusals(options, clients, _asks(round(PEAK_IMAGES_A_PLACE * options.queue_sequences), 2))
    return peak.per_second(lambda _: 1)


async def _without_refusals(options: Options, clients: Clients, asks: list[Ask]) -> Rush:
    """Half as many clients as the queue has places, each asking again at once until all is asked."""
    waiting = iter(asks)
    asked: list[Ask] = []
    seen: list[Seen] = []

    async def one() -> None:
        for ask in waiting:
            found = await clients.ask(_body(options, ask))
            asked.append(ask)
            seen.append(found)

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(options.queue_sequences // 2)))
    return Rush(asked, seen, time.monotonic() - began)


def _together(rushes: Sequence[Rush]) -> Rush:
    """Several rushes as one."""
    asks = [ask for rush in rushes for ask in rush.asks]
    seen = [each for rush in rushes for each in rush.seen]
    return Rush(asks, seen, sum(rush.seconds for rush in rushes))


async def _flood(options: Options, clients: Clients, rate: float) -> Rush:
    asks = _asks(round(rate * options.overload_seconds), 3)
    times = poisson_times(rate, len(asks), random.Random(3))
    began = time.monotonic()
    seen = await at_times(times, lambda i, due: clients.ask(_body(options, asks[i])))
    return Rush(asks, seen, time.monotonic() - began)


def _goals(bound: int, flood: Rush, calm: Rush, grown: float) -> list[Goal]:
    served, refused = flood.with_status(200), flood.with_status(429)
    others = len(flood.seen) - len(served) - len(refused)
    unhelpful = sum(each.answer is None or "retry-after" not in each.answer.headers for each in refused)
    refusal = 1e3 * quantile([each.seconds for each in refused], 0.99)
    goodput, best = flood.per_second(lambda _: 1), calm.per_second(lambda _: 1)
    # Who is admitted last waits until a batch's places are left ahead, and then makes its own steps as one of a full
    # batch. Both are taken at the pace of all that was done: between steps, a processor decodes what others finished.
    ahead = (bound - BATCH) / flood.per_second(lambda ask: ask.sequences)
    own = max(ask.steps for ask in flood.asks) * BATCH / flood.per_second(lambda ask: ask.sequences * ask.steps)
    wait = quantile([each.seconds for each in served], 0.99)
    return [
        Goal("every request is answered, with an image or 429 and Retry-After",
             f"{len(served)} images, {len(refused)} refused ({unhelpful} without Retry-After), {others} others",
             not others + unhelpful),
        _bound_goal(refused, bound),
        Goal("refusals p99 at most 50 ms", f"{refusal:.1f} ms", refusal <= 50, is_exact=False),
        Goal("goodput at least 95 % of peak", f"{goodput / best:.1%} ({goodput:.2f} of {best:.2f} images/s)",
             goodput >= 0.95 * best, is_exact=False),
        Goal("admitted p99 at most 1.2 x ((queue - batch) / throughput + the longest image's own time in a full batch)",
             f"{wait:.2f} s of {1.2 * (ahead + own):.2f} s", wait <= 1.2 * (ahead + own), is_exact=False),
        Goal("memory of all processes grows by at most 5 %", f"{grown:.1%}", grown <= 0.05, is_exact=False),
    ]  # fmt: skip


def _bound_goal(refused: Sequence[Seen], bound: int) -> Goal:
    """No request is refused that had room, and never more is taken than the bound."""
    found = [BOUND.search(each.answer.body.decode()) for each in refused if each.answer]
    figures = [(int(match[1]), int(match[2]), int(match[3])) for match in found if match]
    wrong = sum(not (taken <= most == bound < taken + needed) for taken, most, needed in figures)
    most_taken = max((taken for taken, _, _ in figures), default=0)
    unreadable = len(refused) - len(figures)
    text = f"{wrong} of {len(figures)} refusals wrong, {unreadable} unreadable; {most_taken} taken at most"
    return Goal(f"the bound of {bound} sequences is exact", text, not wrong and not unreadable)


def _asks(count: int, seed: int) -> list[Ask]:
    return balanced_asks(count, random.Random(seed))


def _body(options: Options, ask: Ask) -> dict[str, object]:
    return options.body(ask.class_id, ask.steps, ask.cfg) | {"seed": ask.seed}


def _memory(server: Running) -> float:
    """Resident MiB of the server's process and its children."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_resident(int(each)) for each in (str(pid), *children))


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
