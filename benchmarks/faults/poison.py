"""R5: batches of which a tenth hold a job that cannot be done; the others in them must not notice.

Drives the engine itself, in this process, through a door whose poisoned jobs raise when they begin, in a step, or when
they are decoded (as latents that are not finite do), and one kind that runs out of memory in company. Knows no HTTP.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.report import Finding, Goal
from dit_serve.models.options import MAX_BATCH_SEQUENCES, ModelInfo, SampleSpec
from dit_serve.service.engine.engine import Engine, EngineOptions, Inbox, Stop
from dit_serve.service.engine.hangs import Pulse
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Stepped

BEGIN, STEP, DECODE, MEMORY = 1000, 1001, 1002, 1003
GUILTY = (BEGIN, STEP, DECODE)  # MEMORY is guilty of nothing once it has room
BATCH = 8
PATIENCE_SECONDS = 600.0


class OutOfMemoryError(RuntimeError):
    """Named as torch's, by which the engine knows it."""


@dataclass(slots=True)
class PoisonSample:
    """An image and how far it is; its seed is the job's number."""

    spec: SampleSpec
    i: int = 0

    @property
    def is_done(self) -> bool:
        """Whether its steps are made."""
        return self.i == self.spec.steps


class PoisonDoor:
    """A door that does nothing, and fails for the jobs of some classes."""

    info = ModelInfo("poison", 64, 100, (), 1000, ("ddim",), 4, "float32", "cpu", "")
    modulation_counts = (0, 0)  # it keeps nothing
    max_sequences = MAX_BATCH_SEQUENCES

    def warm_up(self) -> None:
        """Nothing to prepare."""

    def begin(self, spec: SampleSpec, /) -> PoisonSample:
        """A sample, unless its class fails here."""
        if spec.class_id == BEGIN:
            raise ValueError("poison: begin")
        return PoisonSample(spec)

    def step(self, samples: list[PoisonSample], /) -> None:
        """One step for all or for none."""
        classes = [sample.spec.class_id for sample in samples]
        if STEP in classes:
            raise RuntimeError("poison: step")
        if MEMORY in classes and len(samples) > BATCH // 2:
            raise OutOfMemoryError("poison: memory")
        for sample in samples:
            sample.i += 1

    def preview(self, sample: PoisonSample, /) -> int:
        """Nothing to see."""
        return sample.spec.seed

    def decode(self, samples: list[PoisonSample], /) -> list[int]:
        """The jobs' numbers, for pixels."""
        if any(sample.spec.class_id == DECODE for sample in samples):
            raise FloatingPointError("poison: latents are not finite")
        return [sample.spec.seed for sample in samples]


@dataclass(slots=True)
class Audience:
    """Hears the engine's events; may be called from any thread."""

    jobs: int
    ends: dict[int, list[JobEnd]] = field(default_factory=dict)
    steps: int = 0
    all_ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: Event) -> None:
        """Takes one event."""
        with self.lock:
            if isinstance(event, Stepped):
                self.steps += 1
            elif isinstance(event, JobEnd):
                self.ends.setdefault(event.job_id, []).append(event)
                if len(self.ends) == self.jobs:
                    self.all_ended.set()


def poisoned_jobs(batches: int, kinds: Sequence[int], source: random.Random) -> list[Job]:
    """Jobs for so many batches, of which a tenth hold one job of these kinds."""
    jobs: list[Job] = []
    for batch in range(batches):
        classes = [source.randrange(100) for _ in range(BATCH)]
        if source.random() < 0.1:
            classes[source.randrange(BATCH)] = source.choice(kinds)
        for class_id in classes:
            number = len(jobs) + 1
            spec = SampleSpec(class_id, number, source.randint(1, 3), 1.0)
            jobs.append(Job(number, f"batch-{batch}", "poison", spec))
    return jobs


def run_engine(jobs: Sequence[Job]) -> Audience:
    """Does all jobs in one engine.

    Raises:
        TimeoutError: they did not all end.
    """
    audience = Audience(len(jobs))
    inbox: Inbox = queue.SimpleQueue()
    engine = Engine(
        {"poison": PoisonDoor()}, inbox=inbox, encode=lambda job, pixels: str(pixels).encode(), post=audience,
        options=EngineOptions(max_batch_sequences=BATCH), pulse=Pulse(PATIENCE_SECONDS),
    )  # fmt: skip
    for job in jobs:
        inbox.put(job)
    loop = threading.Thread(target=engine.run, name="engine")
    loop.start()
    has_ended = audience.all_ended.wait(PATIENCE_SECONDS)
    inbox.put(Stop())
    loop.join(PATIENCE_SECONDS)
    if not has_ended:
        raise TimeoutError(f"{len(jobs) - len(audience.ends)} jobs did not end")
    return audience


def poison(batches: int, seed: int = 5) -> Finding:
    """R5 with so many batches, and a tenth as many in which memory runs out."""
    source = random.Random(seed)
    jobs, starved = poisoned_jobs(batches, GUILTY, source), poisoned_jobs(max(20, batches // 10), (MEMORY,), source)
    logging.disable(logging.ERROR)  # the engine logs every poisoned job with its traceback
    try:
        heard, heard_starved = run_engine(jobs), run_engine(starved)
    finally:
        logging.disable(logging.NOTSET)
    guilty = {job.id for job in jobs if job.spec.class_id in GUILTY}
    failed = _ended(heard, Outcome.FAILED)
    wrong = sum(heard.ends[number][0].png != str(number).encode() for number in _ended(heard, Outcome.COMPLETED))
    twice = sum(len(found) != 1 for found in heard.ends.values())
    reasons = Counter(heard.ends[number][0].reason.partition(":")[0] for number in guilty & failed)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(reasons.items()))
    lost = len(starved) - len(_ended(heard_starved, Outcome.COMPLETED))
    goals = (
        Goal("no innocent job fails", f"{len(failed - guilty)} of {len(jobs) - len(guilty)}", failed <= guilty),
        Goal("every poisoned job fails", f"{len(guilty & failed)} of {len(guilty)} ({kinds})", guilty <= failed),
        Goal("every job ends once, with its own image", f"{twice} not once, {wrong} with another's", not twice + wrong),
        Goal("memory that is too small for a batch fails no job", f"{lost} of {len(starved)}", not lost),
    )
    setting = (
        f"{batches} batches of {BATCH} jobs of 1 to 3 steps in one engine, a tenth of them with a job that raises when "
        f"it begins, in its step, or when it is decoded; {heard.steps} steps were made. Then {len(starved) // BATCH} "
        f"batches, a tenth of them with a job that runs out of memory in company of more than {BATCH // 2 - 1}."
    )
    return Finding("R5 poison", setting, goals)


def _ended(heard: Audience, outcome: Outcome) -> set[int]:
    return {number for number, found in heard.ends.items() if found[0].outcome is outcome}
