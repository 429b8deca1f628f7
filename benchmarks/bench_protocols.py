"""What another protocol costs: the same images of one server, asked by /generate and by OpenAI's route, in turns.

    python -m benchmarks.bench_protocols            # a minute; `make bench` measures it beside the peers too

All requests of a turn within two seconds, the same for both; the machine's speed varies by the minute, so each turn of
one stands beside a turn of the other. Status 1 if an image differs. Prints, and writes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

import uvloop

from benchmarks.driving import AS_IT_COMES, OFFERED, Load, asked_by_openai, drive, joined, ours, running, warm_up
from benchmarks.load import BLOCK, balanced_asks
from benchmarks.report import machine, table

HEADS = ("asked by", "images/s", "p50", "p95", "requests", "failed", "generator", "server", "others")


async def measure(model: str, count: int, rounds: int) -> tuple[list[Load], list[Load]]:
    """The loads of both routes, one a round, in turns."""
    first, other = ours(model)[0], asked_by_openai(model)
    loads: tuple[list[Load], list[Load]] = ([], [])
    async with running(first) as server:
        await warm_up(server, first)
        for seed in range(rounds):
            for contender, found in zip((first, other), loads, strict=True):
                source = random.Random(seed)
                found.append(await drive(server, contender, balanced_asks(count, source), OFFERED, source))
    return loads


def row(name: str, load: Load) -> list[object]:
    waits = (f"{load.wait(part):.2f}" for part in (0.5, 0.95))
    rate = f"{load.images_per_second:.2f}"
    return [name, rate, *waits, len(load.traces), load.failures, *(f"{share:.1%}" for share in load.used)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-64", help="one of the demo models")
    parser.add_argument("--count", type=int, default=20 * BLOCK, help="requests of a turn, a multiple of 9")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loads = runner.run(measure(options.model, options.count, options.rounds))
    generate, openai = map(joined, loads)
    ratio = openai.images_per_second / generate.images_per_second
    pairs = zip(generate.traces, openai.traces, strict=True)
    differing = sum(one.png != other.png for one, other in pairs)
    rows = [row("/generate", generate), row("OpenAI's route", openai)]
    print(f"{machine()}\n\n{options.model}, {AS_IT_COMES}\n\n{table(HEADS, rows)}")
    print(f"OpenAI's route over /generate: {ratio:.3f}; images that differ: {differing} of {len(generate.traces)}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
