"""Our service against what users write today: the same weights, machine, requests and run.

    make bench            # or: python -m benchmarks.bench_service --seconds 60

Against FastAPI with diffusers' DiTPipeline behind a lock, and LitServe with its batching around the same. Open-loop
Poisson arrivals of mixed classes, steps (10, 20, 50) and cfg (1, 1.5, 4). First each server's images a second at
saturation, then the waits at 30, 60 and 90 % of what the best peer can do, and what serving costs against the bare
pipeline. Writes benchmarks/results/service-DATE.md. About half an hour on two cores. With `--before FOLDER` the service
of another checkout, started by its own .venv/bin/dit, is one more server in the same rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import harmonic_mean

import uvloop

from benchmarks.contenders import BEFORE, OURS, Contender, before, ours, peers
from benchmarks.driving import Load, Saturated, at_rates, bare, joined, saturate
from benchmarks.report import write_result
from benchmarks.service_report import SHARES, Results, report
from tests.service.running import ROOT


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; `main` says what each number is."""

    count: int
    tuning_count: int
    seconds: float
    rounds: int


async def measure(model: str, plan: Plan, checkout: Path | None) -> Results:
    """Everything, one server at a time; in rounds, so that a machine's better and worse minutes meet all of them."""
    own, earlier = ours(model), [before(model, checkout)] if checkout else []
    settings = [*own, *earlier, *peers(ROOT / "models" / "demo" / model)]
    tried = [await saturate(each, plan.tuning_count) for each in settings]
    best = best_settings(tried)
    limits, bare_rate = await _limits([*best, *(own[:1] if own[0] not in best else [])], model, plan)
    capacity = max(each.load.images_per_second for each in limits if each.contender.name not in (OURS, BEFORE))
    loads = await _loads(best, [share * capacity for share in SHARES], plan)
    return Results(tried, limits, bare_rate, loads)


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
    plan = Plan(options.count, options.tuning_count, options.seconds, options.rounds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(options.model, plan, options.before and options.before.resolve()))
    print(write_result("service", f"The service against its peers, {options.model}", report(results)).read_text())


if __name__ == "__main__":
    main()
