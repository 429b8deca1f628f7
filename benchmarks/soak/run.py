"""One soak from the start of the server to the last sum."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.driving import ours, running, shares, usage
from benchmarks.load import quantile
from benchmarks.report import Finding, findings_text, table
from benchmarks.soak.books import answers, held, sums
from benchmarks.soak.clients import Clients, draw_specs
from benchmarks.soak.coming_back import SMALL_CLIENTS, ComingBack, come_back
from benchmarks.soak.processes import Sample, Trend, hold, names_of, trends, watch
from benchmarks.soak.scrape import PACE_SECONDS, scrape, scrape_when_idle
from benchmarks.soak.seen import Seen
from tests.service.running import PATIENCE_SECONDS, Running

MODELS = "digits-64,digits-128"
SAMPLES = 180  # of what the processes hold, over a whole soak
LEAST_PACE_SECONDS = 0.5
LONG_STEPS_A_MINUTE, MOST_LONG_STEPS = 60, 400  # of the jobs that fill the queue


@dataclass(frozen=True, slots=True)
class Options:
    """How long a soak is and how many ask."""

    minutes: float = 30.0
    clients: int = 5
    seed: int = 5


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it."""

    finding: Finding
    seen: Seen
    trends: list[Trend]
    coming_back: ComingBack
    seconds: float  # of the mixed company alone

    def text(self) -> str:
        """The report."""
        return "\n".join((findings_text([self.finding]), _processes(self.trends), _waits(self), _returns(self),
                          _statuses(self.seen)))


async def soak(options: Options) -> Soak:
    """Starts a server as it comes, makes each image alone, lets the clients loose, and closes the books."""
    seen, source = Seen(), random.Random(options.seed)
    async with running(ours(MODELS)[0]) as server:
        workers = await _all_up(server)
        clients = Clients(server.port, draw_specs(source), seen)
        await clients.make_each_alone()
        await scrape_when_idle(server)
        before, used = hold(server), usage(server.process.pid)
        seconds = 60 * options.minutes
        until = time.monotonic() + seconds
        watching = asyncio.create_task(watch(server, seconds, max(LEAST_PACE_SECONDS, seconds / SAMPLES)))
        sources = [random.Random(f"{options.seed} {number}") for number in range(options.clients)]
        await asyncio.gather(*(clients.ask_until(until, each) for each in sources))
        generator, server_share, others = shares(used, usage(server.process.pid))
        found = trends(await watching, names_of(server))
        steps = min(MOST_LONG_STEPS, round(LONG_STEPS_A_MINUTE * max(1.0, options.minutes)))
        returns = await come_back(server, clients, seen, steps)
        told = await scrape_when_idle(server)
        after, names = await _settled(server, before), names_of(server)
        goals = [*sums(seen, told), *answers(seen, server.seen), *held(before, after, found, names, options.minutes)]
    setting = (
        f"{MODELS.replace(',', ' and ')}, {workers} workers, all settings as they come. Each of 100 requests was "
        f"answered alone; then {options.clients} clients asked for {options.minutes:g} minutes, each again at once: "
        f"{', '.join(f'{count} x {kind}' for kind, count in seen.kinds.most_common())}. Of all cores' time the server "
        f"took {server_share:.0%}, the clients {generator:.0%}, others {others:.0%}."
    )
    return Soak(Finding("What must hold", setting, tuple(goals)), seen, found, returns, seconds)


async def _all_up(server: Running) -> int:
    """How many workers there are, once all of them take jobs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(up := [sample.value for sample in (await scrape(server)).samples("dit_worker_up")]):
            await asyncio.sleep(PACE_SECONDS)
    return len(up)


async def _settled(server: Running, before: Sample) -> Sample:
    """What the processes hold at the end, once connections are closed, or at last what they hold still."""
    for _ in range(round(PATIENCE_SECONDS / 4 / PACE_SECONDS)):
        after = hold(server)
        if all(after[pid].descriptors <= before[pid].descriptors for pid in before.keys() & after.keys()):
            break
        await asyncio.sleep(PACE_SECONDS)
    return after


def _processes(found: list[Trend]) -> str:
    heads = ("process", "MiB at first", "at last", "MiB/h after warm-up", "descriptors", "threads")
    rows = [
        (each.name, f"{each.first.resident_mib:.1f}", f"{each.last.resident_mib:.1f}", f"{each.slope:+.2f}",
         f"{each.first.descriptors} to {each.last.descriptors}", f"{each.first.threads} to {each.last.threads}")
        for each in found
    ]
    return f"## Processes\n\n{table(heads, rows)}"


def _waits(soak: Soak) -> str:
    """Seconds that plain images took over time, and how they compare with what streams announce."""
    seen, last = soak.seen, max((at for at, _ in soak.seen.waits), default=0.0)
    began = last - soak.seconds
    rows: list[tuple[object, ...]] = []
    for third, name in enumerate(("first", "second", "last")):
        begin, end = (began + soak.seconds * part / 3 for part in (third, third + 1))
        waits = [seconds for at, seconds in seen.waits if begin <= at <= end]
        rows.append((f"seconds of an image, {name} third", len(waits), *_quantiles(waits)))
    rows.append(("actual / announced on arrival", len(seen.queued_ratios), *_quantiles(seen.queued_ratios)))
    rows.append(("actual / announced with the first step", len(seen.begun_ratios), *_quantiles(seen.begun_ratios)))
    return f"## Waits\n\n{table(('', 'number', 'p10', 'p50', 'p90', 'p99'), rows)}"


def _quantiles(values: list[float]) -> list[str]:
    return [f"{quantile(values, share):.2f}" for share in (0.1, 0.5, 0.9, 0.99)]


def _returns(soak: Soak) -> str:
    found = soak.coming_back
    told, waited = (
        f"{quantile(values, 0.5):.1f} s (p50), {quantile(values, 1.0):.1f} s (most)" if values else "-"
        for values in ([each.told_seconds for each in found.returns], [each.waited_seconds for each in found.returns])
    )
    rows = (
        ("small clients", SMALL_CLIENTS),
        ("let in at once", found.let_in_at_once),
        ("told to come back", len(found.returns)),
        ("let in when they first came back", found.first_time),
        ("times that one came back, at most", max((each.returns for each in found.returns), default=0)),
        ("told at first", told),
        ("let in after, counted from the first time", waited),
        ("until the long jobs were done", f"{found.long_seconds:.1f} s"),
    )
    return f"## Coming back as told, to a queue full of long jobs\n\n{table(('', 'found'), rows)}"


def _statuses(seen: Seen) -> str:
    rows = [(path, status, count) for (path, status), count in sorted(seen.statuses.items())]
    return f"## Answers\n\n{table(('path', 'status', 'number'), rows)}"
