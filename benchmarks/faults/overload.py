"""R1: ten times as many requests as the service can do; the bound is exact and nobody waits in vain.

Every 429 says how many places are taken, how many there are, and how many it needed: that is checked for each.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.clients import Clients, Seen, step_seconds
from benchmarks.faults.options import Options
from benchmarks.load import Ask, at_times, balanced_asks, in_turn, poisson_times, quantile
from benchmarks.report import Finding, Goal
from tests.service.running import Running, running

BOUND = re.compile(r"(\d+) of the queue's (\d+) places are taken and this request needs (\d+)")
Pair = tuple[Ask, Seen]
BATCH = 16  # sequences, as the server is told


@dataclass(frozen=True, slots=True)
class Rush:
    """What became of each request of a rush, and the seconds until the last was answered."""

    pairs: list[Pair]
    seconds: float

    def with_status(self, status: int) -> list[Seen]:
        return [seen for _, seen in self.pairs if seen.status == status]

    def per_second(self, worth: Callable[[Ask], int]) -> float:
        """What was completed, by its worth, over the whole time."""
        return sum(worth(ask) for ask, seen in self.pairs if seen.status == 200) / self.seconds


async def overload(options: Options) -> Finding:
    """R1. Calm is half as many clients as the queue has places, each asking again at once: full, and none refused."""
    flags = ("--max-queue-sequences", str(options.queue_sequences), "--max-batch-sequences", str(BATCH))
    together = options.queue_sequences // 2
    with running(options.command(*flags)) as server:
        clients = Clients(server)

        async def one(ask: Ask) -> Pair:
            body = options.body(ask.class_id, ask.steps, ask.cfg)
            return ask, await clients.ask(body | {"seed": ask.seed})

        await in_turn(5, balanced_asks(5, random.Random(1)), one)  # the first ones are slower
        asks = balanced_asks(options.peak_images, random.Random(2))
        peak = await _rush(in_turn(together, asks, one))
        rate = 10 * peak.per_second(lambda _: 1)
        asks = balanced_asks(round(rate * options.overload_seconds), random.Random(3))
        times = poisson_times(rate, len(asks), random.Random(3))
        memory, since, floods, calms = _memory(server), len(server.seen), [], []
        for _ in range(options.overload_rounds):
            floods.append(await _rush(at_times(times, lambda i, due: one(asks[i]))))
            served = [ask for ask, seen in floods[-1].pairs if seen.status == 200]
            calms.append(await _rush(in_turn(together, served, one)))
        flood, calm = (
            Rush([pair for rush in rushes for pair in rush.pairs], sum(rush.seconds for rush in rushes))
            for rushes in (floods, calms)
        )
        step = step_seconds(server, since)
        grown = max(0.0, _memory(server) / memory - 1)
        goals = [*_goals(options.queue_sequences, flood, calm, grown), await clients.check()]
    setting = (
        f"{options.model}; {options.overload_rounds} times open-loop Poisson, {rate:.0f} requests a second for "
        f"{options.overload_seconds:.0f} s ({len(flood.pairs)} requests, {flood.seconds:.1f} s in all until the last "
        f"answers), mixed steps and cfg. A step of a full batch takes {1e3 * step:.1f} ms. "
        "A guided image needs two places and an unguided one, so "
        "an overload admits more of the latter, and more of the time goes to decoding. So the peak is what the same "
        f"images take when {together} clients ask for them, each again at once, after each flood."
    )
    return Finding("R1 overload", setting, tuple(goals))


async def _rush(work: Coroutine[Any, Any, list[Pair]]) -> Rush:
    began = time.monotonic()
    return Rush(await work, time.monotonic() - began)


def _goals(bound: int, flood: Rush, calm: Rush, grown: float) -> list[Goal]:
    served, refused = flood.with_status(200), flood.with_status(429)
    others = len(flood.pairs) - len(served) - len(refused)
    unhelpful = sum(each.answer is None or "retry-after" not in each.answer.headers for each in refused)
    refusal = 1e3 * quantile([each.seconds for each in refused], 0.99)
    goodput, best = flood.per_second(lambda _: 1), calm.per_second(lambda _: 1)
    # Who is admitted last waits until a batch's places are left ahead, and then makes its own steps as one of a full
    # batch. Both are taken at the pace of all that was done: between steps, a processor decodes what others finished.
    ahead = (bound - BATCH) / flood.per_second(lambda ask: ask.sequences)
    own = max(ask.steps for ask, _ in flood.pairs) * BATCH / flood.per_second(lambda ask: ask.sequences * ask.steps)
    wait = quantile([each.seconds for each in served], 0.99)
    answers = f"{len(served)} images, {len(refused)} refused ({unhelpful} without Retry-After), {others} others"
    rates = f"{goodput / best:.1%} ({goodput:.2f} of {best:.2f} images/s)"
    return [
        Goal("every request is answered, with an image or 429 and Retry-After", answers, others == unhelpful == 0),
        _bound_goal(refused, bound),
        Goal("refusals p99 at most 50 ms", f"{refusal:.1f} ms", refusal <= 50, is_exact=False),
        Goal("goodput at least 95 % of peak", rates, goodput >= 0.95 * best, is_exact=False),
        Goal("admitted p99 at most 1.2 x ((queue - batch) / throughput + the longest image's own time in a full batch)",
             f"{wait:.2f} s of {1.2 * (ahead + own):.2f} s", wait <= 1.2 * (ahead + own), is_exact=False),
        Goal("memory of all processes grows by at most 5 %", f"{grown:.1%}", grown <= 0.05, is_exact=False),
    ]


def _bound_goal(refused: Sequence[Seen], bound: int) -> Goal:
    """No request is refused that had room, and never more is taken than the bound."""
    found = [BOUND.search(each.answer.body.decode()) for each in refused if each.answer]
    figures = [tuple(map(int, match.groups())) for match in found if match]
    wrong = sum(not (taken <= most == bound < taken + needed) for taken, most, needed in figures)
    most_taken, unreadable = max((taken for taken, _, _ in figures), default=0), len(refused) - len(figures)
    text = f"{wrong} of {len(figures)} refusals wrong, {unreadable} unreadable; {most_taken} taken at most"
    return Goal(f"the bound of {bound} sequences is exact", text, not wrong and not unreadable)


def _memory(server: Running) -> float:
    """Resident MiB of the server's process and its children."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    texts = [Path(f"/proc/{each}/status").read_text() for each in (pid, *children)]
    return sum(int(text.partition("VmRSS:")[2].split()[0]) / 1024 for text in texts)
