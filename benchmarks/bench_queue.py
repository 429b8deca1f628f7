"""What an operation of the queue costs when 1,000 to 100,000 jobs wait: it must not grow with their number.

    python -m benchmarks.bench_queue

Measures `service.engine.queue` (a worker's waiting jobs) and `service.front.dispatch` (the HTTP side's), in
microseconds a job: push, take in batches, cancel in random order. Guidance scales are as many as 1,000, the worst that
callers could do to the grouping.
"""

from __future__ import annotations

import asyncio
import platform
import random
import time
from collections.abc import Callable

from dit_serve.service.engine.queue import JobQueue
from dit_serve.service.front.dispatch import Dispatch
from dit_serve.service.front.ledger import Books
from dit_serve.service.wire.job import Job, JobEnd, Outcome

SIZES = (1_000, 10_000, 100_000)
PLACES = 16
REPEATS = 3


def main() -> None:
    """Prints a table in markdown."""
    print(f"\n{platform.processor() or platform.machine()}, Python {platform.python_version()}, microseconds a job\n")
    print("| operation |" + "".join(f" {size:,} waiting |" for size in SIZES))
    print("|---|" + "---:|" * len(SIZES))
    for name, measure in (
        ("queue: push", push),
        ("queue: take a batch of 16", take),
        ("queue: cancel at random", cancel),
        ("dispatch: accept, send, end", dispatch),
    ):
        figures = [min(measure(size) for _ in range(REPEATS)) for size in SIZES]
        print(f"| {name} |" + "".join(f" {1e6 * figure:.2f} |" for figure in figures))


def push(size: int) -> float:
    """Seconds a job to push `size` jobs."""
    queue, jobs = JobQueue(), make_jobs(size)

    def push_all() -> None:
        for job in jobs:
            queue.push(job)

    return seconds(push_all) / size


def take(size: int) -> float:
    """Seconds a job to take a tenth of `size` jobs in batches, so that the queue stays long."""
    queue = filled(size)
    taken = 0

    def take_a_tenth() -> None:
        nonlocal taken
        while taken < size // 10:
            taken += len(queue.take(64, PLACES))

    return seconds(take_a_tenth) / taken


def cancel(size: int) -> float:
    """Seconds a job to cancel a tenth of `size` jobs in random order."""
    queue = filled(size)
    chosen = random.Random(0).sample(range(size), size // 10)
    return seconds(lambda: [queue.cancel(number) for number in chosen]) / len(chosen)


def dispatch(size: int) -> float:
    """Seconds a job from its acceptance to its end, with two workers and `size` jobs on the books."""
    return asyncio.run(_dispatch(size))


async def _dispatch(size: int) -> float:
    books, dispatch = Books(), Dispatch(2, PLACES)
    for lane in dispatch.lanes:
        lane.is_up = True
    jobs = make_jobs(size)

    def work() -> None:
        for job in jobs:
            dispatch.add(books.enter(job))
        while (choice := dispatch.next()) is not None:
            _, accepted = choice
            dispatch.remove(accepted)
            books.end(accepted, JobEnd(accepted.job.id, Outcome.COMPLETED))

    return seconds(work) / size


def filled(size: int) -> JobQueue:
    """A queue of `size` jobs."""
    queue = JobQueue()
    for job in make_jobs(size):
        queue.push(job)
    return queue


def make_jobs(size: int) -> list[Job]:
    """Jobs of one resolution and many guidance scales."""
    source = random.Random(0)
    return [Job(k, "r", 64, 0, 0, 50, 1 + source.randrange(1_000) / 100, "ddim") for k in range(size)]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of the work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
