"""Images a second and the wait for one, autoencoder and copies included: ours and diffusers' DiTPipeline.

All load the same folder, in the same number format unless they say otherwise, and take class ids to 8-bit or float
pixels on the processor with guidance 4. Each contender is a process of its own, so its start-up, its first image and
its memory are its own. Start-up is from the start of the process until it is ready, with kernels that earlier sections
have compiled.

diffusers is compiled as its guide advises: the transformer's blocks one by one, which are one program 28 times, and
the decoder, in torch.compile's default mode. "In graphs" is the same whose transformer replays a CUDA graph a batch,
which is more than its users write, but what one image alone is bound by.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.timing import captured, seconds

Generate = Callable[[int, int], object]  # (images, steps) -> pixels on the processor
GUIDANCE = 4.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to make the images."""

    is_ours: bool = False  # or diffusers
    batch_invariant: bool = True  # of ours
    precision: str | None = None  # of ours
    is_compiled: bool = False  # whether diffusers' blocks and decoder are
    is_in_graphs: bool = False  # whether diffusers' transformer replays CUDA graphs
    has_large: bool = False  # whether the larger resolution is measured too


CONTENDERS = {
    "ours": Contender(is_ours=True, has_large=True),
    "ours, fp8": Contender(is_ours=True, precision="fp8"),
    "ours, free shapes": Contender(is_ours=True, batch_invariant=False),
    "diffusers, eager": Contender(),
    "diffusers, compiled": Contender(is_compiled=True),
    "diffusers, compiled, in graphs": Contender(is_compiled=True, is_in_graphs=True),
}


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each figure of one contender."""
    contender = CONTENDERS[argument]
    for resolution in list(bench.resolutions)[: 2 if contender.has_large else 1]:
        began = bench.began if resolution == min(bench.resolutions) else time.time()
        generate = open_contender(bench, contender, resolution)
        for what, value, unit in figures(bench, generate, began):
            yield {"contender": argument, "resolution": resolution, "what": what, "value": value, "unit": unit}
        del generate
        bench.clear()


def figures(bench: Bench, generate: Generate, began: float) -> Iterator[tuple[str, float | None, str]]:
    """Yield (what, value, unit) of a contender that is ready, each as soon as it is known, those that decide first."""
    images, steps, runs = bench.scale.images, bench.scale.steps, max(bench.scale.runs // 3, 1)

    def median(images: int, steps: int) -> float:
        return statistics.median(seconds(lambda: generate(images, steps), bench.device) for _ in range(runs))

    yield "start-up", time.time() - began, "s"
    yield f"first answer, {images} of {steps[0]} steps", seconds(lambda: generate(images, steps[0]), bench.device), "s"
    for count in steps:
        yield f"{images} at once, {count} steps", images / median(images, count), "images/s"
    generate(1, steps[0])  # compiles
    yield f"one image, {steps[-1]} steps", median(1, steps[-1]) * 1e3, "ms"
    yield "peak memory", bench.peak_gib(), "GiB"


def open_contender(bench: Bench, contender: Contender, resolution: int) -> Generate:
    """Return a contender on the device: ours, or diffusers' pipeline with what its users do to make it faster."""
    if contender.is_ours:
        ours = bench.load(resolution, batch_invariant=contender.batch_invariant, precision=contender.precision)
        return lambda images, steps: ours.generate(range(images), range(images), steps=steps, guidance_scale=GUIDANCE)
    from diffusers import DiTPipeline

    pipeline = DiTPipeline.from_pretrained(bench.folder(resolution)).to(bench.device, bench.dtype)
    pipeline.set_progress_bar_config(disable=True)
    if contender.is_compiled:
        is_card = bench.device.type == "cuda"  # a dry run compiles nothing
        for block in pipeline.transformer.transformer_blocks:
            block.compile(dynamic=False, fullgraph=True, backend="inductor" if is_card else "eager")
        decoder = pipeline.vae.to(memory_format=torch.channels_last).decoder
        decoder.compile(dynamic=False, backend="inductor" if is_card else "eager")
    if contender.is_in_graphs:
        pipeline.transformer.forward = in_graphs(pipeline.transformer.forward, bench.device)

    def generate(images: int, steps: int) -> object:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(images)]
        return pipeline(list(range(images)), GUIDANCE, generators, steps, output_type="np").images

    return generate


def in_graphs(forward: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Return a transformer's forward pass that is captured for each batch size when it first comes, then replayed."""
    from diffusers.models.modeling_outputs import Transformer2DModelOutput

    kept: dict[int, tuple[list[torch.Tensor], dict[str, torch.Tensor], Callable[[], object]]] = {}

    def replay(latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Transformer2DModelOutput:
        given = [latents, timestep, class_labels]
        if len(latents) not in kept:
            inputs, output = [tensor.clone() for tensor in given], dict[str, torch.Tensor]()

            def work() -> None:
                output["sample"] = forward(inputs[0], timestep=inputs[1], class_labels=inputs[2]).sample

            kept[len(latents)] = inputs, output, captured(work, device)
        inputs, output, run = kept[len(latents)]
        for held, tensor in zip(inputs, given, strict=True):
            held.copy_(tensor)
        run()
        return Transformer2DModelOutput(sample=output["sample"].clone())

    return replay
