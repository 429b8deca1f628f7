"""Our service against what users write today: the same weights, machine, requests and run.

    make bench            # or: python -m benchmarks.bench_service --seconds 60

Against FastAPI with diffusers' DiTPipeline behind a lock, and LitServe with its batching around the same. Open-loop
Poisson arrivals of mixed classes, steps (10, 20, 50) and cfg (1, 1.5, 4). First each server's images a second at
saturation, then the waits at 30, 60 and 90 % of what the best peer can do, and what serving costs against the bare
pipeline. Writes benchmarks/results/service-DATE.md. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import harmonic_mean

import uvloop

from benchmarks.contenders import Contender, ours, peers
from benchmarks.driving import Load, Saturated, at_rates, bare, joined, saturate
from benchmarks.report import write_result
from benchmarks.server import ROOT
from benchmarks.service_report import SHARES, Results, report


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Args:
        count: requests at saturation.
        tuning_count: requests for each setting that is tried.
        seconds: length of each load below saturation.
        rounds: how often each load is measured, the tried settings' apart.
    """

    count: int
    tuning_count: int
    seconds: float
    rounds: int


async def measure(model: str, plan: Plan) -> Results:
    """Everything, one server at a time; in rounds, so that a machine's better and worse minutes meet all of them."""
    own = ours(model)
    tried = [await saturate(each, plan.tuning_count) for each in [*own, *peers(ROOT / "models" / "demo" / model)]]
    best = best_settings(tried)
    (mine, *others), bare_rate = await _limits(best, model, plan)
    as_it_comes = mine if mine.contender == own[0] else await saturate(own[0], plan.count)
    rates = [share * max(each.load.images_per_second for each in others) for share in SHARES]
    return Results(tried, mine, as_it_comes, others, bare_rate, await _loads(best, rates, plan))


async def _limits(contenders: Sequence[Contender], model: str, plan: Plan) -> tuple[list[Saturated], float]:
    """Each server at saturation, and the bare pipeline's images a second in its better form: one process or one a core.

    Both are means over the rounds, since the bare pipeline meets the machine's minutes as the servers do.
    """
    servers: list[list[Saturated]] = []
    bares: dict[int, list[float]] = {1: [], len(os.sched_getaffinity(0)): []}
    for seed in range(1, plan.rounds + 1):
        servers.append([await saturate(each, plan.count, seed) for each in contenders])
        for processes, rates in bares.items():
            rates.append(await bare(model, plan.count, processes, seed))
    turns = zip(*servers, strict=True)
    limits = [replace(first, load=joined([first.load, *(each.load for each in others)])) for first, *others in turns]
    return limits, max(harmonic_mean(rates) for rates in bares.values())


async def _loads(contenders: Sequence[Contender], rates: Sequence[float], plan: Plan) -> dict[str, list[Load]]:
    loads: dict[str, list[list[Load]]] = {each.name: [] for each in contenders}
    for seed in range(plan.rounds):
        for each in contenders:
            loads[each.name].append(await at_rates(each, rates, plan.seconds, seed + 1))
    return {name: [joined(turns) for turns in zip(*rounds, strict=True)] for name, rounds in loads.items()}


def best_settings(tried: Sequence[Saturated]) -> list[Contender]:
    """The setting of each server with the most images a second, in the order of the servers."""
    best: dict[str, Saturated] = {}
    for each in tried:
        name = each.contender.name
        if name not in best or each.load.images_per_second > best[name].load.images_per_second:
            best[name] = each
    return [each.contender for each in best.values()]


def main() -> None:
    """Measures and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-64", help="one of the demo models")
    parser.add_argument("--count", type=int, default=270, help="requests at saturation, a multiple of 9")
    parser.add_argument("--tuning-count", type=int, default=90, help="requests for each setting that is tried")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each load below saturation")
    parser.add_argument("--rounds", type=int, default=2, help="how often each load is measured, in turns")
    options = parser.parse_args()
    plan = Plan(options.count, options.tuning_count, options.seconds, options.rounds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(options.model, plan))
    print(write_result("service", f"The service against its peers, {options.model}", report(results)).read_text())


if __name__ == "__main__":
    main()
