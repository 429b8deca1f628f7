"""Same bytes through the service: both resolutions of the random weights as two models of one server, mixed requests
each alone, then many at once, with the worker killed on the way. What was lost with it the service makes again.

And pictures of a card beside the same ones from the processor in float32: kernels that are wrong in the same way each
time give the same bytes too.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from benchmarks.bench_quality import BFLOAT16, difference, trained_and_random, walk
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.gpu.served import fields_of, serving
from benchmarks.gpu.steps import mixed_specs
from benchmarks.load import Ask, ask_one, in_turn
from dit_serve import load_pipeline
from dit_serve.models.sampling.sampler import SAMPLERS

CLASSES = 1000  # of the random weights
CLIENTS = 64  # at once, whose 128 sequences at most the service's queue takes
PICTURE_STEPS = (10, 4)  # of the demo model, and of DiT-XL/2, whose guided step is 474 GFLOP for the processor


@dataclass(frozen=True, slots=True)
class MixedAsk(Ask):
    """An image of one of several models, by any sampler."""

    sampler: str
    model: str


Images = Mapping[MixedAsk, bytes]  # the PNGs that came


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield how many images of each model and sampler differ or are lost, and what became of the killed worker.

    Raises:
        ModuleNotFoundError: packages of the service are not there.
        RuntimeError: the server ended before it was ready.
    """
    asks = mixed_asks(bench)
    with serving(bench, bench.resolutions) as server:
        alone = asyncio.run(images_of(server.port, asks, clients=1))
        mixed = random.Random(0).sample(asks, len(asks))
        together = asyncio.run(images_of(server.port, mixed, CLIENTS, victim=server.worker_pid))
    yield from compared(asks, alone, together)
    yield replaced(server.worker_pid, iter(server.lines.get, ""))


def pictures(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield for each model how far a picture is from the same one on the processor."""
    for (model, checkpoint), steps in zip(trained_and_random(bench).items(), PICTURE_STEPS, strict=True):
        yield picture(bench.device, model, checkpoint, steps)
        bench.clear()


def mixed_asks(bench: Bench) -> list[MixedAsk]:
    """Return the requests, as many of each model, which differ in all that images may differ in."""
    models = [bench.folder(resolution).name for resolution in bench.resolutions]
    each = bench.scale.requests // len(models)
    specs = mixed_specs(random.Random(0), CLASSES, -(-each // len(SAMPLERS)))[:each]
    return [
        MixedAsk(spec.class_id, spec.guidance_scale, spec.steps, spec.seed, spec.sampler, model)
        for model, spec in product(models, specs)
    ]


async def images_of(port: int, asks: Sequence[MixedAsk], clients: int, victim: int | None = None) -> Images:
    """Return what comes to so many clients; after a quarter of the answers the process `victim` is killed."""
    found, answers = dict[MixedAsk, bytes](), 0

    async def one(ask: MixedAsk) -> None:
        nonlocal answers
        answer = (await ask_one(port, ask, time.monotonic())).answer
        if answer is not None and answer.status == 200:
            found[ask] = answer.body
        else:
            print(f"{ask}: {answer}")  # to the section's log
        answers += 1
        if answers == len(asks) // 4 and victim is not None:
            os.kill(victim, signal.SIGKILL)

    await in_turn(clients, asks, one)
    return found


def compared(asks: Iterable[MixedAsk], alone: Images, together: Images) -> Iterator[Row]:
    """Yield a row for each model and sampler; lost is a request that no image came of, alone or together."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for ask in asks:
        count = counts.setdefault((ask.model, ask.sampler), {"compared": 0, "differing": 0, "lost": 0})
        has_both = ask in alone and ask in together
        count["compared"] += has_both
        count["differing"] += has_both and alone[ask] != together[ask]
        count["lost"] += not has_both
    for (model, sampler), count in counts.items():
        yield {"model": model, "sampler": sampler, **count}


def replaced(victim: int, log: Iterable[str]) -> Row:
    """Return whether the log tells of the victim's death and of another worker, and how many images were made again."""
    lines = list(map(fields_of, log))
    ends = [line["how"] for line in lines if line.get("event") == "worker_ended"]
    others = [line["worker_pid"] for line in lines if line.get("event") == "ready"]
    made_again = sum(line["crashes"] > 0 for line in lines if line.get("outcome") == "completed")
    is_replaced = ends == ["killed by SIGKILL"] and len(others) == 1 and others != [victim]
    return {"worker": "killed on the way", "is_replaced": is_replaced, "made_again": made_again}


def picture(device: torch.device, model: str, checkpoint: str | Path, steps: int) -> Row:
    """Return how far one guided picture in bfloat16 on a device is from the processor's in float32."""
    pipeline = load_pipeline(checkpoint, device=str(device), dtype=torch.bfloat16)
    pipeline.warm_up()
    found = walk(pipeline, 1, steps)
    reference = load_pipeline(checkpoint, device="cpu", dtype=torch.float32, batch_invariant=False)  # on all cores
    exact = walk(reference, 1, steps)
    return asdict(difference(model, (BFLOAT16, found), ("the processor's, float32", exact))) | {"steps": steps}
