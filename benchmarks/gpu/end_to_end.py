"""Images a second and the wait for one, autoencoder and copies included: ours and diffusers' DiTPipeline.

All load the same folder, in the same number format, and take class ids to 8-bit or float pixels on the processor with
guidance 4. Each contender is a process of its own, so its start-up, its first image and its memory are its own.
Start-up is from the start of the process until it is ready, with kernels that earlier sections have compiled.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import seconds

Generate = Callable[[int, int], object]  # (images, steps) -> pixels on the processor
GUIDANCE = 4.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to make the images."""

    batch_invariant: bool | None = None  # of ours; None is diffusers
    compile_mode: str | None = None  # of torch.compile, or None
    is_fused: bool = False  # whether q, k and v are one product
    is_one_first: bool = True  # whether the wait for one image is measured before the images a second
    has_large: bool = False  # whether the larger resolution is measured too


CONTENDERS = {
    "ours": Contender(batch_invariant=True, has_large=True),
    "ours, free shapes": Contender(batch_invariant=False),
    "diffusers, eager": Contender(has_large=True),
    "diffusers, fused qkv": Contender(is_fused=True),
    # the fastest for many images: no graphs, whose copies of the inputs cost more than their launches; it goes first
    "diffusers, max-autotune-no-cudagraphs": Contender(None, "max-autotune-no-cudagraphs", True, is_one_first=False),
    "diffusers, max-autotune": Contender(None, "max-autotune", True),
}


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each figure of one contender."""
    contender = CONTENDERS[argument]
    for resolution in list(bench.resolutions)[: 2 if contender.has_large else 1]:
        began = bench.began if resolution == min(bench.resolutions) else time.time()
        generate = open_contender(bench, contender, resolution)
        for what, value, unit in figures(bench, contender, generate, began):
            yield {"contender": argument, "resolution": resolution, "what": what, "value": value, "unit": unit}
        del generate
        bench.clear()


def figures(
    bench: Bench, contender: Contender, generate: Generate, began: float
) -> Iterator[tuple[str, float | None, str]]:
    """Yield (what, value, unit) of a contender that is ready, in the order in which they are measured."""
    steps, runs = bench.scale.steps, max(bench.scale.runs // 3, 1)
    yield "start-up", time.time() - began, "s"
    at_once = (1, bench.scale.images) if contender.is_one_first else (bench.scale.images, 1)
    for number, images in enumerate(at_once):
        for count in steps if images > 1 else steps[:1]:
            first = seconds(lambda: generate(images, count), bench.device)  # noqa: B023  called before the loop goes on
            if number == 0 and count == steps[0]:
                yield f"first answer, {images} of {count} steps", first, "s"
            taken = statistics.median(seconds(lambda: generate(images, count), bench.device) for _ in range(runs))  # noqa: B023
            if images == 1:
                yield f"one image, {count} steps", taken * 1e3, "ms"
            else:
                yield f"{images} at once, {count} steps", images / taken, "images/s"
    yield "peak memory", bench.peak_gib(), "GiB"


def open_contender(bench: Bench, contender: Contender, resolution: int) -> Generate:
    """Return a contender on the device: ours, or diffusers' pipeline with what its users do to make it faster."""
    if contender.batch_invariant is not None:
        ours = bench.load(resolution, batch_invariant=contender.batch_invariant)
        return lambda images, steps: ours.generate(range(images), range(images), steps=steps, guidance_scale=GUIDANCE)
    from diffusers import DiTPipeline
    from diffusers.models.attention_processor import FusedAttnProcessor2_0

    pipeline = DiTPipeline.from_pretrained(bench.folder(resolution)).to(bench.device, bench.dtype)
    pipeline.set_progress_bar_config(disable=True)
    if contender.is_fused:  # the pipeline offers no switch for it, its attention does
        for block in pipeline.transformer.transformer_blocks:
            block.attn1.fuse_projections()
            block.attn1.set_processor(FusedAttnProcessor2_0())
    if contender.compile_mode:
        is_card = bench.device.type == "cuda"
        how = {"mode": contender.compile_mode} if is_card else {"backend": "eager"}  # a dry run compiles nothing
        pipeline.transformer.compile(dynamic=False, **how)
        pipeline.vae.to(memory_format=torch.channels_last).decoder.compile(dynamic=False, **how)

    def generate(images: int, steps: int) -> object:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(images)]
        return pipeline(list(range(images)), GUIDANCE, generators, steps, output_type="np").images

    return generate
