"""R5: batches of which a tenth hold a job that cannot be done; the others in them must not notice.

Drives the engine itself, in this process, through a door whose poisoned jobs raise when they begin, in a step, or when
they are decoded (as latents that are not finite do), and one kind that runs out of memory in company. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.faults.options import Options
from benchmarks.report import Finding, Goal
from dit_serve.models.options import SampleSpec
from dit_serve.service.engine.engine import Engine, EngineOptions, Inbox, Stop
from dit_serve.service.engine.hangs import Pulse
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Stepped
from tests.service.fake import FakeDoor, FakeSample

BEGIN, STEP, DECODE, MEMORY = 1000, 1001, 1002, 1003
GUILTY = (BEGIN, STEP, DECODE)  # MEMORY is guilty of nothing once it has room
BATCH = 8
PATIENCE_SECONDS = 600.0


class OutOfMemoryError(RuntimeError):
    """Named as torch's, by which the engine knows it."""


class PoisonDoor(FakeDoor):
    """The tests' door, which fails for some classes, and makes for pixels the seeds: the jobs' numbers."""

    def begin(self, spec: SampleSpec, /) -> FakeSample:
        if spec.class_id == BEGIN:
            raise ValueError("poison: begin")
        return FakeSample(spec)

    def step(self, samples: list[FakeSample], /) -> None:
        classes = [sample.spec.class_id for sample in samples]
        if STEP in classes:
            raise RuntimeError("poison: step")
        if MEMORY in classes and len(samples) > BATCH // 2:
            raise OutOfMemoryError("poison: memory")
        for sample in samples:
            sample.i += 1

    def decode(self, samples: list[FakeSample], /) -> list[Any]:
        if any(sample.spec.class_id == DECODE for sample in samples):
            raise FloatingPointError("poison: latents are not finite")
        return [sample.spec.seed for sample in samples]


def poisoned_jobs(batches: int, kinds: Sequence[int], source: random.Random) -> list[Job]:
    """Jobs for so many batches, of which a tenth hold one job of these kinds."""
    jobs: list[Job] = []
    for batch in range(batches):
        classes = [source.randrange(100) for _ in range(BATCH)]
        if source.random() < 0.1:
            classes[source.randrange(BATCH)] = source.choice(kinds)
        for number, class_id in enumerate(classes, len(jobs) + 1):
            spec = SampleSpec(class_id, number, source.randint(1, 3), 1.0)
            jobs.append(Job(number, f"batch-{batch}", "fake-64", spec))
    return jobs


def run_engine(jobs: Sequence[Job]) -> tuple[dict[int, list[JobEnd]], int]:
    """The ends of all jobs, done in one engine, and how many steps were made; or a TimeoutError."""
    ends, steps = dict[int, list[JobEnd]](), list[Stepped]()
    all_ended, lock = threading.Event(), threading.Lock()

    def hear(event: Event) -> None:  # called from any thread
        with lock:
            if isinstance(event, Stepped):
                steps.append(event)
            elif isinstance(event, JobEnd):
                ends.setdefault(event.job_id, []).append(event)
                if len(ends) == len(jobs):
                    all_ended.set()

    inbox: Inbox = queue.SimpleQueue()
    engine = Engine(
        {"fake-64": PoisonDoor()}, inbox=inbox, encode=lambda job, pixels: str(pixels).encode(), post=hear,
        options=EngineOptions(max_batch_sequences=BATCH), pulse=Pulse(PATIENCE_SECONDS),
    )
    for job in jobs:
        inbox.put(job)
    loop = threading.Thread(target=engine.run, name="engine")
    loop.start()
    has_ended = all_ended.wait(PATIENCE_SECONDS)
    inbox.put(Stop())
    loop.join(PATIENCE_SECONDS)
    if not has_ended:
        raise TimeoutError(f"{len(jobs) - len(ends)} jobs did not end")
    return ends, len(steps)


async def poison(options: Options) -> Finding:
    """R5 with so many batches, and a tenth as many in which memory runs out."""
    batches, source = options.batches, random.Random(5)
    jobs, starved = poisoned_jobs(batches, GUILTY, source), poisoned_jobs(max(20, batches // 10), (MEMORY,), source)
    logging.disable(logging.ERROR)  # the engine logs every poisoned job with its traceback
    try:
        ends, steps = await asyncio.to_thread(run_engine, jobs)
        ends_of_starved, _ = await asyncio.to_thread(run_engine, starved)
    finally:
        logging.disable(logging.NOTSET)
    guilty = {job.id for job in jobs if job.spec.class_id in GUILTY}
    failed = _ended(ends, Outcome.FAILED)
    wrong = sum(ends[number][0].png != str(number).encode() for number in _ended(ends, Outcome.COMPLETED))
    twice = sum(len(found) != 1 for found in ends.values())
    reasons = Counter(ends[number][0].reason.partition(":")[0] for number in guilty & failed)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(reasons.items()))
    lost = len(starved) - len(_ended(ends_of_starved, Outcome.COMPLETED))
    goals = (
        Goal("no innocent job fails", f"{len(failed - guilty)} of {len(jobs) - len(guilty)}", failed <= guilty),
        Goal("every poisoned job fails", f"{len(guilty & failed)} of {len(guilty)} ({kinds})", guilty <= failed),
        Goal("every job ends once, with its own image", f"{twice} not once, {wrong} with another's", not twice + wrong),
        Goal("memory that is too small for a batch fails no job", f"{lost} of {len(starved)}", not lost),
    )
    setting = (
        f"{batches} batches of {BATCH} jobs of 1 to 3 steps in one engine, a tenth of them with a job that raises when "
        f"it begins, in its step, or when it is decoded; {steps} steps were made. Then {len(starved) // BATCH} "
        f"batches, a tenth of them with a job that runs out of memory in company of more than {BATCH // 2 - 1}."
    )
    return Finding("R5 poison", setting, goals)


def _ended(ends: Mapping[int, Sequence[JobEnd]], outcome: Outcome) -> set[int]:
    return {number for number, found in ends.items() if found[0].outcome is outcome}
