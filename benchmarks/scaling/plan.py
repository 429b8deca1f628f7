"""What is trained and measured: sizes, patches, blocks, and at which points the quality of each is asked.

A `Run` is one training, a `Point` one measurement of it. Stages are lists of points; a point of two stages is measured
once. Knows no network and no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dit_serve.models.architecture import CONDITIONED, Conditioned
from dit_serve.models.training.dit import TrainingConfig

BEST_BLOCK: Conditioned = "adaln-zero"  # of the whole family, as in the paper
SAMPLER = "ddim"


@dataclass(frozen=True, slots=True)
class Size:
    """Width, depth and heads of a DiT."""

    hidden_size: int
    depth: int
    num_heads: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that every training and every measurement has in common, and in what they differ.

    Attributes:
        sizes: by their cost, the smallest first.
        patches: patch sizes, the finest first.
        block_size: which of the sizes is trained with each of the four blocks.
        steps: of every training; `checkpoints` are measured.
        pictures: generated for a point, seeds 0 on, classes in turn.
        sampling_steps: of every point but those of the stage about them.
        ladder: the sampling steps of that stage.
        scales: the guidance scales of the stage about guidance; all other points have 1.
        save_seconds: between two saves of a training.
        most_pictures: of each part of the data, its first ones; None for all.
    """

    sizes: tuple[Size, ...] = (Size(48, 4, 2), Size(96, 6, 4), Size(144, 8, 6), Size(192, 8, 8))
    patches: tuple[int, ...] = (2, 4, 8)
    block_size: int = 1
    resolution: int = 64
    steps: int = 2000
    batch_size: int = 64  # small, so that an hour or two have many steps
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    ema_decay: float = 0.999
    pictures: int = 1000
    sampling_steps: int = 20
    ladder: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    scales: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
    save_seconds: float = 60.0
    most_pictures: int | None = None

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps at which quality is measured: an eighth, a quarter, a half and all of them."""
        return tuple(sorted({max(1, self.steps * part // 8) for part in (1, 2, 4, 8)}))


SMOKE = Plan(
    sizes=(Size(16, 1, 2), Size(24, 2, 2)),
    patches=(2, 8),
    block_size=0,
    steps=3,
    batch_size=4,
    warmup_steps=2,
    pictures=10,
    sampling_steps=2,
    ladder=(1, 2),
    scales=(1.0, 4.0),
    save_seconds=0.0,  # after every step, so that a run can be cut anywhere
    most_pictures=64,
)


@dataclass(frozen=True, slots=True)
class Run:
    """One training."""

    size: Size
    patch_size: int
    conditioning: Conditioned
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and its results."""
        return f"width-{self.size.hidden_size}-patch-{self.patch_size}-{self.conditioning}-seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: a run after some steps, sampled in one way."""

    run: Run
    step: int
    sampling_steps: int
    guidance_scale: float = 1.0

    @property
    def name(self) -> str:
        """Of its result."""
        return f"{self.run.name}-step-{self.step}-sampled-{self.sampling_steps}-cfg-{self.guidance_scale:g}"


def training_config(plan: Plan, run: Run, out: Path, vae: Path, data: str) -> TrainingConfig:
    """Return how a run is trained: all alike, but for what a `Run` says.

    The learning rate is constant after its rise, as the paper's is: so a run of some steps is the beginning of a longer
    one, and one training has all its checkpoints on the way.
    """
    return TrainingConfig(
        out=out,
        vae=vae,
        data=data,
        resolution=plan.resolution,
        patch_size=run.patch_size,
        hidden_size=run.size.hidden_size,
        depth=run.size.depth,
        num_heads=run.size.num_heads,
        conditioning=run.conditioning,
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup_steps,
        beta2=0.99,
        max_grad_norm=1.0,
        ema_decay=plan.ema_decay,
        precision="bfloat16",
        save_seconds=plan.save_seconds,
        seed=run.seed,
    )


def family(plan: Plan, seed: int) -> list[Point]:
    """Every size with every patch, over training."""
    runs = [Run(size, patch, BEST_BLOCK, seed) for size in plan.sizes for patch in plan.patches]
    return [Point(run, step, plan.sampling_steps) for run in runs for step in plan.checkpoints]


def blocks(plan: Plan, seed: int) -> list[Point]:
    """One size with each of the four blocks, over training."""
    runs = [Run(plan.sizes[plan.block_size], plan.patches[0], block, seed) for block in CONDITIONED]
    return [Point(run, step, plan.sampling_steps) for run in runs for step in plan.checkpoints]


def sampling(plan: Plan, seed: int) -> list[Point]:
    """Every size at the finest patch, trained to its end, by numbers of sampling steps."""
    runs = [Run(size, plan.patches[0], BEST_BLOCK, seed) for size in plan.sizes]
    return [Point(run, plan.steps, steps) for run in runs for steps in plan.ladder]


def guidance(plan: Plan, seed: int) -> list[Point]:
    """The largest model, trained to its end, by guidance scales."""
    run = Run(plan.sizes[-1], plan.patches[0], BEST_BLOCK, seed)
    return [Point(run, plan.steps, plan.sampling_steps, scale) for scale in plan.scales]


STAGES: dict[str, Callable[[Plan, int], list[Point]]] = {
    "family": family,
    "blocks": blocks,
    "sampling": sampling,
    "guidance": guidance,
}
