"""A scaling study with made-up figures, for what shows them: better with Gflops and with steps, exactly as said."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.scaling.plan import STAGES, Plan, Point
from benchmarks.scaling.results import Measured, Model, Quality, Study, Training
from benchmarks.scaling.study import plain
from dit_serve.models.architecture import DiTConfig
from dit_serve.models.registry import multiply_adds, parameter_count


def written_study(plan: Plan, seeds: tuple[int, ...] = (0,)) -> Study:
    """Every point of a plan, on latents of 8x8."""
    wanted = dict.fromkeys(point for seed in seeds for stage in STAGES.values() for point in stage(plan, seed))
    points = tuple(_measured(plan, point) for point in wanted)
    about = {
        "data": "fashion", "train_pictures": 60000, "test_pictures": 10000, "autoencoder_sha256": "a" * 64,
        "downsampling": 8, "latent_channels": 8, "judge_sha256": "b" * 64, "sampler": "ddim",
        "plan": plain(asdict(plan)),
    }  # fmt: skip
    floors = {"train": Quality(10, 0.5, 1.0, 1.0, 0.9), "restored": Quality(10, 0.25, 1.0, 1.0, 0.9)}
    ends = dict.fromkeys((point.run, point.step) for point in wanted)
    trainings = tuple(Training(run.name, step, step, step, 60.0, 40.0, "a machine") for run, step in ends)
    return Study(about, floors, trainings, points)


def _measured(plan: Plan, point: Point) -> Measured:
    run = point.run
    config = DiTConfig(
        input_size=8, patch_size=run.patch_size, hidden_size=run.size.hidden_size, depth=run.size.depth,
        num_heads=run.size.num_heads, num_classes=10, conditioning=run.conditioning,
    )  # fmt: skip
    gflops = multiply_adds(config) / 1e9
    model = Model(
        run.name, config.hidden_size, config.depth, config.num_heads, config.patch_size, run.conditioning, run.seed,
        config.tokens, parameter_count(config), gflops,
    )  # fmt: skip
    distance = gflops**-0.5 * plan.steps / point.step + 100.0 / point.sampling_steps + 1.0 + run.seed
    quality = Quality(plan.pictures, distance, 0.5, 0.25, 0.75)
    return Measured(model, point.step, point.sampling_steps, point.guidance_scale, quality, 1.0)
