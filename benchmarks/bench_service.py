"""Our service against what users write today: the same weights, machine, requests and run.

    make bench            # or: python -m benchmarks.bench_service --seconds 60

Against FastAPI with diffusers' DiTPipeline behind a lock, and LitServe with its batching around the same. Open-loop
Poisson arrivals of mixed classes, steps (10, 20, 50) and cfg (1, 1.5, 4). First each server's images a second at
saturation, then the waits at 30, 60 and 90 % of what the best peer can do, and what serving costs against the bare
pipeline. Writes benchmarks/results/service-DATE.md. About half an hour on two cores. With `--before FOLDER` the service
of another checkout is one more server in the same rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean

import numpy as np
import uvloop
from PIL import Image

from benchmarks.driving import (
    AS_IT_COMES,
    BEFORE,
    BY_OPENAI,
    OURS,
    STAGES,
    Contender,
    Load,
    Saturated,
    asked_by_openai,
    at_rates,
    bare,
    before,
    joined,
    ours,
    peers,
    saturate,
)
from benchmarks.report import Goal, goals_table, table, write_result
from tests.service.running import ROOT

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
largest difference of the peer's pixels from ours for one request, of 255. By OpenAI's route the same requests come as
its SDK sends them, and the images go back in base64.
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
        return [name for name in self.loads if name not in (OURS, BY_OPENAI, BEFORE)]

    @property
    def capacity(self) -> float:
        """Images a second of the best peer."""
        return max(map(self.rate, self.peers))


def report(results: Results) -> str:
    return "\n".join([
        METHOD, goals_table(goals(results)), SATURATION, _saturation(results),
        "## Waits in seconds, at shares of the best peer's images a second\n", _waits(results),
        STAGE_TEXT, _stages(results),
        "## Settings that were tried\n", table((*LIMIT, *USED), [_limit(each) for each in results.tried]),
    ])


def goals(results: Results) -> list[Goal]:
    def least(promise: str, ratio: float, bound: float, unit: str = "") -> Goal:
        return Goal(promise, f"{ratio:.2f}{unit}", ratio >= bound, is_exact=False)

    own = {each.contender.setting: each.load for each in results.limits if each.contender.name == OURS}
    found = [least("at least 2 x the images/s of the best peer", results.rate(OURS) / results.capacity, 2, " x")]
    served = own[AS_IT_COMES].images_per_second
    found += [least("served over bare pipeline at least 0.85", served / results.bare, 0.85)]
    found += [least("by OpenAI's route at least 0.95 of /generate's images/s", results.rate(BY_OPENAI) / served, 0.95)]
    if BEFORE in results.loads:
        found += [least("no fewer images/s than before", served / results.rate(BEFORE), 1, " x")]
    for i, share in enumerate(SHARES):
        waits = {name: loads[i].wait(0.95) for name, loads in results.loads.items()}
        third = waits[OURS] / min(waits[name] for name in results.peers)
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
    """Of 255, at most."""
    one, other = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (png, ours))
    return int(np.abs(one - other).max())


async def measure(plan: argparse.Namespace) -> Results:
    """Everything, one server at a time; in rounds, so that a machine's better and worse minutes meet all of them."""
    own, earlier = ours(plan.model), [before(plan.model, plan.before.resolve())] if plan.before else []
    settings = [*own, asked_by_openai(plan.model), *earlier, *peers(ROOT / "models" / "demo" / plan.model)]
    tried = [await saturate(each, plan.tuning_count) for each in settings]
    best = best_settings(tried)
    limits, bare_rate = await _limits([*best, *(own[:1] if own[0] not in best else [])], plan)
    capacity = max(each.load.images_per_second for each in limits if not each.contender.is_ours)
    loads = await _loads(best, [share * capacity for share in SHARES], plan)
    return Results(tried, limits, bare_rate, loads)


async def _limits(contenders: Sequence[Contender], plan: argparse.Namespace) -> tuple[list[Saturated], float]:
    """Each server at saturation, and the bare pipeline's images a second in its better form: one process or one a core.

    Both are means over the rounds, since the bare pipeline meets the machine's minutes as the servers do.
    """
    servers: list[list[Saturated]] = []
    bares: dict[int, list[float]] = {1: [], len(os.sched_getaffinity(0)): []}
    for seed in range(1, plan.rounds + 1):
        servers.append([await saturate(each, plan.count, seed) for each in contenders])
        for processes, rates in bares.items():
            rates.append(await bare(plan.model, plan.count, processes, seed))
    turns = zip(*servers, strict=True)
    limits = [each[0]._replace(load=joined([turn.load for turn in each])) for each in turns]
    return limits, max(harmonic_mean(rates) for rates in bares.values())


async def _loads(all_of: Sequence[Contender], rates: list[float], plan: argparse.Namespace) -> dict[str, list[Load]]:
    seeds = range(1, plan.rounds + 1)
    rounds = [[await at_rates(each, rates, plan.seconds, seed) for each in all_of] for seed in seeds]
    turns = zip(all_of, zip(*rounds, strict=True), strict=True)
    return {each.name: [joined(loads) for loads in zip(*turn, strict=True)] for each, turn in turns}


def best_settings(tried: Sequence[Saturated]) -> list[Contender]:
    """The setting of each server with the most images a second, in the order of the servers."""
    best: dict[str, Saturated] = {}
    for each in tried:
        rival = best.setdefault(each.contender.name, each)
        best[each.contender.name] = max(rival, each, key=lambda one: one.load.images_per_second)
    return [each.contender for each in best.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-64", help="one of the demo models")
    parser.add_argument("--count", type=int, default=270, help="requests at saturation, a multiple of 9")
    parser.add_argument("--tuning-count", type=int, default=90, help="requests for each setting that is tried")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each load below saturation")
    parser.add_argument("--rounds", type=int, default=2, help="how often each load is measured, in turns")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout that is measured beside this one")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(options))
    print(write_result("service", f"The service against its peers, {options.model}", report(results)).read_text())


if __name__ == "__main__":
    main()
