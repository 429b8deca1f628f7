"""Our service against what users write today: the same weights, machine, requests and run.

    make bench            # or: python -m benchmarks.bench_service --seconds 60

Against FastAPI with diffusers' DiTPipeline behind a lock, and LitServe with its batching around the same. Open-loop
Poisson arrivals of mixed classes, steps (10, 20, 50) and cfg (1, 1.5, 4). First each server's images a second at
saturation, then the waits at 30, 60 and 90 % of what the best peer can do, and what serving costs against the bare
pipeline. Writes benchmarks/results/service-DATE.md. About twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

import uvloop

from benchmarks.contenders import Contender, ours, peers
from benchmarks.driving import Saturated, at_rates, bare, saturate
from benchmarks.report import write_result
from benchmarks.server import ROOT
from benchmarks.service_report import SHARES, Results, report


async def measure(model: str, count: int, tuning_count: int, seconds: float) -> Results:
    """Everything, one server at a time."""
    folder = ROOT / "models" / "demo" / model
    own = ours(model)
    tried = [await saturate(each, tuning_count) for each in [*own, *peers(folder)]]
    mine, *others = [await saturate(each, count) for each in best_settings(tried)]
    as_it_comes = mine if mine.contender == own[0] else await saturate(own[0], count)
    processes = [1, len(os.sched_getaffinity(0))]
    bare_rate = max([await bare(model, count, each) for each in processes * 2])  # others can only make it slower
    capacity = max(each.load.images_per_second for each in others)
    rates = [share * capacity for share in SHARES]
    loads = {each.contender.name: await at_rates(each.contender, rates, seconds) for each in [mine, *others]}
    return Results(tried, mine, as_it_comes, others, bare_rate, loads)


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
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(options.model, options.count, options.tuning_count, options.seconds))
    print(write_result("service", f"The service against its peers, {options.model}", report(results)).read_text())


if __name__ == "__main__":
    main()
