"""Does what plan.py says: trains each run from checkpoint to checkpoint, and measures every point once.

Whatever is done is a file in the study's folder and is not done again, and a training that was cut goes on from its
last save to the bits it would have had. So the command may be stopped at any moment and given again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console

from benchmarks.report import machine
from benchmarks.scaling.judge import ROWS, Judge, Pictures, decoded, floors, open_latents, open_pictures
from benchmarks.scaling.plan import SAMPLER, STAGES, Plan, Point, Run, training_config
from benchmarks.scaling.results import (
    RESULTS,
    Measured,
    Model,
    Quality,
    Study,
    Training,
    measured,
    read_json,
    read_study,
    write_json,
    write_study,
)
from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.evaluation.fashion import WEIGHTS
from dit_serve.models.pipeline import Pipeline, load_pipeline
from dit_serve.models.registry import multiply_adds, parameter_count
from dit_serve.models.training.dit import train
from dit_serve.models.training.growth import load_state
from dit_serve.models.training.saving import STATE_FILE

ABOUT = "about.json"
FLOORS = "floors.json"

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a study's data and autoencoder come from, and where it goes."""

    out: Path
    vae: Path
    data: str


class Runner:
    """One study under way."""

    def __init__(self, plan: Plan, sources: Sources) -> None:
        """Opens data and autoencoder, and judges what no model made, unless that was done.

        Raises:
            ValueError: the folder holds a study of something else, or the data do not fit.
            CheckpointError: the autoencoder cannot be read, or a file not be written.
        """
        self.plan, self.sources = plan, sources
        self._console = Console()
        self.pictures: Pictures = open_pictures(sources.data, plan, sources.vae)
        self.about = self._same_as_before()
        self.latents = open_latents(self.pictures, sources.out)
        self.judge = Judge(self.pictures.test, sources.out)
        self.floors = kept(
            sources.out / FLOORS,
            lambda: floors(self.pictures, self.judge, plan.pictures),
            lambda found: {name: asdict(each) for name, each in found.items()},
            lambda stored: {name: Quality(**each) for name, each in stored.items()},
        )
        self._trainings: dict[Path, Training] = {}

    def study(self, seeds: list[int]) -> Study:
        """Trains and measures what is not there yet, stage by stage, and writes all of it as one file.

        Args:
            seeds: of the trainings; those of an earlier study in the folder stay in it.
        """
        points: dict[Point, Measured] = {}
        path = self.sources.out / RESULTS
        earlier = [model.seed for model in read_study(path).models()] if path.exists() else []
        for seed in dict.fromkeys([*earlier, *seeds]):
            for stage, wanted in STAGES.items():
                for (run, step), group in groupby(wanted(self.plan, seed), key=lambda point: (point.run, point.step)):
                    points |= self._measure(stage, run, step, list(group))
        study = Study(self.about, self.floors, tuple(self._trainings.values()), tuple(points.values()))
        write_study(path, study)
        return study

    def _measure(self, stage: str, run: Run, step: int, points: list[Point]) -> dict[Point, Measured]:
        """The points of a run at one step; the run is trained to it if any of them, or its record, is missing."""
        record = self.sources.out / "trainings" / f"{run.name}-step-{step}.json"
        files = {point: self.sources.out / "points" / f"{point.name}.json" for point in points}
        if missing := [point for point, file in files.items() if not file.exists()]:
            self._console.print(f"{stage}: {run.name}, step {step}, {len(missing)} to measure")
        if missing or not record.exists():
            self._train(run, step, record)
        self._trainings[record] = Training(**read_json(record))
        if missing:
            pipeline = load_pipeline(self._folder(run), device="cpu", dtype="bfloat16")
            for point in missing:
                write_json(files[point], asdict(self._sample(pipeline, point)))
        return {point: measured(read_json(file)) for point, file in files.items()}

    def _train(self, run: Run, step: int, record: Path) -> None:
        """Brings a run to that step, and records what that took.

        Raises:
            ValueError: the run is beyond it, as after results were removed by hand.
        """
        folder = self._folder(run)
        before = step_of(folder)
        if before > step:
            raise ValueError(f"{folder} is at step {before}, beyond {step}: remove it, and the run is trained again")
        processor, wall = time.process_time(), time.monotonic()
        if before < step:
            config = training_config(self.plan, run, folder, self.sources.vae, self.sources.data)
            train(replace(config, steps=step), self.latents)
        elif record.exists():
            return
        took = time.process_time() - processor, time.monotonic() - wall
        since = max((each for each in self.plan.checkpoints if each < step), default=0)
        write_json(record, asdict(Training(run.name, step, step - since, step - before, *took, machine())))

    def _sample(self, pipeline: Pipeline, point: Point) -> Measured:
        """The quality of a point's pictures: seeds 0 on, classes in turn, the same for every point."""
        start, count = time.process_time(), self.plan.pictures
        class_ids = torch.arange(count) % len(self.pictures.train.names)
        latents = pipeline.generate(
            class_ids,
            range(count),
            steps=point.sampling_steps,
            guidance_scale=point.guidance_scale,
            sampler=SAMPLER,
            output_type="latents",
        )
        batches = torch.split(torch.from_numpy(np.stack(latents)), ROWS)
        quality = self.judge.quality((decoded(pipeline.vae, batch) for batch in batches), class_ids)
        took = time.process_time() - start
        model = described(point.run, pipeline)
        self._console.print(f"  {sampled(point)}: distance {quality.distance:.2f}, {took:.0f} s of processor time")
        return Measured(model, point.step, point.sampling_steps, point.guidance_scale, quality, took)

    def _folder(self, run: Run) -> Path:
        return self.sources.out / "runs" / run.name

    def _same_as_before(self) -> dict[str, Any]:
        """What every figure depends on, held against what the folder's earlier figures depended on."""
        about = {
            "data": self.sources.data,
            "train_pictures": len(self.pictures.train),
            "test_pictures": len(self.pictures.test),
            "autoencoder_sha256": files_sha256(sorted(each for each in self.sources.vae.iterdir() if each.is_file())),
            "downsampling": self.pictures.vae.downsampling,
            "latent_channels": self.pictures.vae.latent_channels,
            "judge_sha256": files_sha256([WEIGHTS]),
            "sampler": SAMPLER,
            "plan": plain(asdict(self.plan)),
        }
        path = self.sources.out / ABOUT
        before = kept(path, lambda: about, plain, plain)
        if other := [name for name in about if before.get(name) != about[name]]:
            what = ", ".join(other)
            raise ValueError(f"{self.sources.out} holds a study that differs in {what}: choose another --out")
        return about


def kept(path: Path, make: Callable[[], Made], dump: Callable[[Made], Any], load: Callable[[Any], Made]) -> Made:
    """What a file holds; made and written where there is none."""
    if not path.exists():
        write_json(path, dump(make()))
    return load(read_json(path))


def plain(value: Any) -> Any:
    """A value as JSON gives it back: lists for tuples."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def step_of(folder: Path) -> int:
    """The step that a training in a folder was saved at; 0 where there is none."""
    path = folder / STATE_FILE
    return int(load_state(path)["step"]) if path.exists() else 0


def described(run: Run, pipeline: Pipeline) -> Model:
    """A run with what its network comes to."""
    config = pipeline.checkpoint.config
    return Model(
        run=run.name,
        hidden_size=config.hidden_size,
        depth=config.depth,
        num_heads=config.num_heads,
        patch_size=config.patch_size,
        conditioning=run.conditioning,
        seed=run.seed,
        tokens=config.tokens,
        parameters=parameter_count(config),
        gflops=multiply_adds(config) / 1e9,
    )


def sampled(point: Point) -> str:
    return f"{point.sampling_steps} sampling steps, cfg {point.guidance_scale:g}"
