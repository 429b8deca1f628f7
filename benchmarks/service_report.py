"""The text of `python -m benchmarks.bench_service`: its goals, its tables, and how to read them. Measures nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.contenders import AS_IT_COMES, BEFORE, OURS
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
LIMIT = ("server", "setting", "images/s", "requests", "failed")
USED = ("generator", "server", "others")
PARTS = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured."""

    tried: Sequence[Saturated]  # every setting of every server at its limit, with fewer requests
    # every server in its best setting at its limit, in order; then ours as it comes, if that is another
    limits: Sequence[Saturated]
    bare: float  # images a second of the bare pipeline
    loads: Mapping[str, Sequence[Load]]  # by server, one load for each of SHARES of the best peer's images a second

    def rate(self, name: str) -> float:
        """Images a second of a server's best setting."""
        return next(each.load.images_per_second for each in self.limits if each.contender.name == name)

    @property
    def peers(self) -> list[str]:
        return [name for name in self.loads if name not in (OURS, BEFORE)]

    @property
    def capacity(self) -> float:
        """Images a second of the best peer."""
        return max(map(self.rate, self.peers))


def report(results: Results) -> str:
    """All of it as markdown."""
    return "\n".join([
        METHOD, goals_table(goals(results)), SATURATION, _saturation(results),
        "## Waits in seconds, at shares of the best peer's images a second\n", _waits(results),
        STAGE_TEXT, _stages(results),
        "## Settings that were tried\n", table((*LIMIT, *USED), [_limit(each) for each in results.tried]),
    ])


def goals(results: Results) -> list[Goal]:
    """What was to be reached."""

    def least(promise: str, ratio: float, bound: float, unit: str = "") -> Goal:
        return Goal(promise, f"{ratio:.2f}{unit}", ratio >= bound, is_exact=False)

    own = {each.contender.setting: each.load for each in results.limits if each.contender.name == OURS}
    found = [least("at least 2 x the images/s of the best peer", results.rate(OURS) / results.capacity, 2, " x")]
    served = own[AS_IT_COMES].images_per_second
    found += [least("served over bare pipeline at least 0.85", served / results.bare, 0.85)]
    if BEFORE in results.loads:
        found += [least("no fewer images/s than before", served / results.rate(BEFORE), 1, " x")]
    for i, share in enumerate(SHARES):
        best = min(results.loads[name][i].wait(0.95) for name in results.peers)
        third = results.loads[OURS][i].wait(0.95) / best
        promise = f"p95 at {share:.0%} load at most a third of the best peer's"
        found.append(Goal(promise, f"{third:.2f} of it", third <= 1 / 3, is_exact=False))
    return found


def _saturation(results: Results) -> str:
    rows = [[*_limit(each), _difference(each.png, results.limits[0].png)] for each in results.limits]
    setting = "16 sequences a step, no HTTP, no PNG; one process or one a core"
    rows.append(["bare pipeline", setting, f"{results.bare:.2f}", *[""] * 6])
    return table((*LIMIT, *USED, "pixels"), rows)


def _waits(results: Results) -> str:
    rows = [
        [f"{share:.0%}", f"{share * results.capacity:.2f}", name, *(f"{loads[i].wait(part):.2f}" for part in PARTS),
         len(loads[i].traces), loads[i].failures, *_used(loads[i])]
        for i, share in enumerate(SHARES) for name, loads in results.loads.items()
    ]
    return table(("load", "requests/s", "server", "p50", "p95", "p99", "requests", "failed", *USED), rows)


def _stages(results: Results) -> str:
    loads = {"saturation": results.limits[0].load}
    loads |= {f"{share:.0%}": load for share, load in zip(SHARES, results.loads[OURS], strict=True)}
    rows = [[name, *(f"{mean:.1f}" for mean in load.stage_milliseconds())] for name, load in loads.items()]
    return table(("load", *STAGES, "rest"), rows)


def _limit(each: Saturated) -> list[object]:
    """A server's line at its limit: what LIMIT and USED name."""
    load, contender = each.load, each.contender
    rate = f"{load.images_per_second:.2f}"
    return [contender.name, contender.setting, rate, len(load.traces), load.failures, *_used(load)]


def _used(load: Load) -> list[str]:
    generator, server, others = load.used
    return [f"{generator:.1%}", f"{server:.0%}", f"{others:.0%}"]


def _difference(png: bytes, ours: bytes) -> int:
    """How far two images are apart at most, of 255."""
    one, other = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (png, ours))
    return int(np.abs(one - other).max())
