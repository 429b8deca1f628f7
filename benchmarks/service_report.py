"""The text of `bench_service`: its goals, its tables, and how to read them. Measures nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.driving import STAGES, Load, Saturated
from benchmarks.report import Goal, goals_table, table

SHARES = (0.3, 0.6, 0.9)
METHOD = """\
Open-loop Poisson arrivals; every nine requests hold each of steps (10, 20, 50) x cfg (1, 1.5, 4) once, in random
order; random classes and seeds; the same requests for all. A wait counts from the moment a request was due. Each server
comes in the settings that its users would try on this machine, and the one with the most images a second stands for it.
Loads are measured in turns, each server once a round, and put together: the machine's speed varies by the minute.
The shares of all cores that the load generator, the server and other processes took are given. DiTPipeline hard-codes
the null class 1000: the peers' label tables are padded with this model's null class there.
"""
SATURATION = """\
## Saturation

All requests within two seconds; images a second from the first request to the last answer. The last column is the
largest difference of the peer's pixels from ours for one request, of 255.
"""
STAGE_TEXT = """\
## Where our time goes

Mean milliseconds an image, by Server-Timing; the rest is HTTP, sockets and the generator.
"""
USED = ("generator", "server", "others")


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured.

    Args:
        tried: every setting of every server at its limit, with fewer requests.
        ours: at its limit.
        as_it_comes: our service without any setting, at its limit.
        peers: at their limits.
        bare: images a second of the bare pipeline.
        loads: by server, one load for each of SHARES of the best peer's images a second.
    """

    tried: Sequence[Saturated]
    ours: Saturated
    as_it_comes: Saturated
    peers: Sequence[Saturated]
    bare: float
    loads: dict[str, list[Load]]

    @property
    def capacity(self) -> float:
        """Images a second of the best peer."""
        return max(peer.load.images_per_second for peer in self.peers)

    @property
    def contenders(self) -> list[Saturated]:
        """Ours and the peers."""
        return [self.ours, *self.peers]


def report(results: Results) -> str:
    """All of it as markdown."""
    return "\n".join([
        METHOD,
        goals_table(goals(results)),
        SATURATION,
        _saturation(results),
        "## Waits in seconds, at shares of the best peer's images a second\n",
        _waits(results),
        STAGE_TEXT,
        _stages(results),
        "## Settings that were tried\n",
        _tried(results),
    ])  # fmt: skip


def goals(results: Results) -> list[Goal]:
    """What was to be reached."""
    ratio = results.ours.load.images_per_second / results.capacity
    served = results.as_it_comes.load.images_per_second / results.bare
    found = [
        Goal("at least 2 x the images/s of the best peer", f"{ratio:.2f} x", ratio >= 2, is_exact=False),
        Goal("served over bare pipeline at least 0.85", f"{served:.2f}", served >= 0.85, is_exact=False),
    ]
    for i, share in enumerate(SHARES):
        best = min(results.loads[peer.contender.name][i].wait(0.95) for peer in results.peers)
        third = results.loads[results.ours.contender.name][i].wait(0.95) / best
        promise = f"p95 at {share:.0%} load at most a third of the best peer's"
        found.append(Goal(promise, f"{third:.2f} of it", third <= 1 / 3, is_exact=False))
    return found


def _saturation(results: Results) -> str:
    both = [results.ours] if results.ours is results.as_it_comes else [results.ours, results.as_it_comes]
    rows: list[list[object]] = [
        [each.contender.name, each.contender.setting, f"{each.load.images_per_second:.2f}", len(each.load.traces),
         each.load.failures, *_used(each.load), _difference(each.png, results.ours.png)]
        for each in [*both, *results.peers]
    ]  # fmt: skip
    setting = "16 sequences a step, no HTTP, no PNG; one process or one a core"
    rows.append(["bare pipeline", setting, f"{results.bare:.2f}", *[""] * 6])
    return table(("server", "setting", "images/s", "requests", "failed", *USED, "pixels"), rows)


def _waits(results: Results) -> str:
    rows = [
        [f"{share:.0%}", f"{share * results.capacity:.2f}", each.contender.name,
         *(f"{load.wait(q):.2f}" for q in (0.5, 0.95, 0.99)), len(load.traces), load.failures, *_used(load)]
        for i, share in enumerate(SHARES)
        for each in results.contenders
        for load in [results.loads[each.contender.name][i]]
    ]  # fmt: skip
    return table(("load", "requests/s", "server", "p50", "p95", "p99", "requests", "failed", *USED), rows)


def _stages(results: Results) -> str:
    loads = [("saturation", results.ours.load)]
    loads += [(f"{share:.0%}", results.loads[results.ours.contender.name][i]) for i, share in enumerate(SHARES)]
    rows = [[name, *(f"{mean:.1f}" for mean in load.stage_milliseconds())] for name, load in loads]
    return table(("load", *STAGES, "rest"), rows)


def _tried(results: Results) -> str:
    rows = [
        [each.contender.name, each.contender.setting, f"{each.load.images_per_second:.2f}", len(each.load.traces),
         each.load.failures, *_used(each.load)]
        for each in results.tried
    ]  # fmt: skip
    return table(("server", "setting", "images/s", "requests", "failed", *USED), rows)


def _used(load: Load) -> list[str]:
    """Shares of all cores."""
    return [f"{load.used.generator:.1%}", f"{load.used.server:.0%}", f"{load.used.others:.0%}"]


def _difference(png: bytes, ours: bytes) -> int:
    """How far two images are apart at most, of 255."""
    one, other = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (png, ours))
    return int(np.abs(one - other).max())
