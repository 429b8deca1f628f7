"""The scaling study end to end, tiny: every stage is there, agrees with itself, and is the same however it was cut."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.scaling.__main__ import main
from benchmarks.scaling.plan import SMOKE, STAGES, Plan, Point, Run
from benchmarks.scaling.results import Measured, Study, read_study
from benchmarks.scaling.study import Runner, Sources, step_of
from benchmarks.scaling.tables import TABLES
from dit_serve.models.architecture import CONDITIONED, DiTConfig
from dit_serve.models.registry import multiply_adds, parameter_count
from dit_serve.models.training.dit import Trainer
from tests.models.tiny_vae import save_tiny_vae
from tests.models.training.test_fashion import write_idx

SMALLER = replace(SMOKE, sizes=SMOKE.sizes[:1], patches=(2,), ladder=(1,), scales=(1.0,))


@dataclass(frozen=True, slots=True)
class World:
    """Data, an autoencoder, and the folder of a finished study of them."""

    data: Path
    vae: Path
    out: Path

    def arguments(self, out: Path) -> list[str]:
        return ["--smoke", "--out", str(out), "--vae", str(self.vae), "--data", str(self.data)]

    @property
    def study(self) -> Study:
        return read_study(self.out / "results.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("scaling")
    world = World(root / "data", root / "vae", root / "out")
    world.data.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 20)):
        write_idx(world.data / f"{part}-images-idx3-ubyte.gz", random.integers(0, 255, (count, 28, 28)))
        write_idx(world.data / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    save_tiny_vae(world.vae)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(world.arguments(world.out)) == 0
    yield world
    torch.set_num_threads(threads)


def test_every_point_of_every_stage_is_measured(world: World) -> None:
    wanted = {point.name for stage in STAGES.values() for point in stage(SMOKE, 0)}
    assert {path.stem for path in (world.out / "points").iterdir()} == wanted
    assert len(world.study.points) == len(wanted)
    assert {point.model.conditioning for point in world.study.points} == set(CONDITIONED)
    assert {point.guidance_scale for point in world.study.points} == set(SMOKE.scales)


def test_networks_are_what_the_registry_says_of_them(world: World) -> None:
    for model in world.study.models():
        config = DiTConfig(
            input_size=8, patch_size=model.patch_size, hidden_size=model.hidden_size, depth=model.depth,
            num_heads=model.num_heads, num_classes=10, conditioning=model.conditioning,
        )  # fmt: skip
        assert model.gflops == multiply_adds(config) / 1e9
        assert (model.parameters, model.tokens) == (parameter_count(config), config.tokens)


def test_a_measured_study_has_all_that_the_page_shows(world: World) -> None:
    tables = {name: table(world.study) for name, table in TABLES.items()}
    assert "| latents | 4 channels, down-sampled 8 times |" in tables["setting"]
    assert all(f"| {model.label} |" in tables["family"] for model in world.study.models())


def test_all_are_trained_for_as_many_steps(world: World) -> None:
    study = world.study
    for model in study.models():
        legs = [training for training in study.trainings if training.run == model.run]
        assert [leg.step for leg in legs] == list(SMOKE.checkpoints)
        assert sum(leg.timed_steps for leg in legs) == sum(leg.steps for leg in legs) == SMOKE.steps
        assert step_of(world.out / "runs" / model.run) == SMOKE.steps


def test_qualities_are_of_as_many_pictures_and_floors_too(world: World) -> None:
    study = world.study
    qualities = [*study.floors.values(), *(point.quality for point in study.points)]
    assert {quality.pictures for quality in qualities} == {SMOKE.pictures}
    assert all(0.0 <= q.recognised <= 1.0 and q.distance > 0.0 for q in qualities)
    assert study.floors["train"].distance < min(point.quality.distance for point in study.points)


def test_a_command_that_is_given_again_makes_nothing_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.out.rglob("*") if path.is_file()}
    monkeypatch.setattr(Trainer, "__init__", None)
    monkeypatch.setattr(Runner, "_sample", None)
    first = (world.out / "results.json").read_bytes()
    assert main(world.arguments(world.out)) == 0
    assert (world.out / "results.json").read_bytes() == first
    changed = {path.name for path, moment in before.items() if path.stat().st_mtime_ns != moment}
    assert changed == {"results.json"}


@pytest.mark.parametrize(
    ("owner", "name", "call"), [(Trainer, "train_step", 3), (Runner, "_sample", 2)], ids=["training", "sampling"]
)
def test_a_study_that_was_cut_ends_in_the_same_figures(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int
) -> None:
    sources = Sources(tmp_path, world.vae, str(world.data))
    with monkeypatch.context() as patch:
        interrupt(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            Runner(SMALLER, sources).study([0])
    found = Runner(SMALLER, sources).study([0])
    whole = [figures(point) for point in world.study.points]
    assert all(figures(point) in whole for point in found.points)
    assert len(found.points) == len(SMALLER.checkpoints) * len(CONDITIONED) + len(SMALLER.ladder)
    cut_short = [leg.timed_steps for leg in found.trainings if leg.timed_steps != leg.steps]
    assert cut_short == ([1] if owner is Trainer else [])


def interrupt(patch: pytest.MonkeyPatch, owner: type, name: str, call: int) -> None:
    """Has the method raise KeyboardInterrupt, as Ctrl-C does, in its call of that number, from 1."""
    method, calls = getattr(owner, name), iter(range(1, call + 1))

    def interrupted(*arguments: object) -> object:
        if next(calls) == call:
            raise KeyboardInterrupt
        return method(*arguments)

    patch.setattr(owner, name, interrupted)


def figures(point: Measured) -> Measured:
    """A point without what differs from run to run."""
    return replace(point, processor_seconds=0.0)


def test_a_folder_of_another_study_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*world.arguments(world.out), "--pictures", "7"]) == 2
    assert "holds a study that differs in plan: choose another --out" in capsys.readouterr().err


def test_a_run_beyond_a_point_that_is_missing_is_not_measured_in_its_place(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(world.out, out)
    [point] = (out / "points").glob("width-24-patch-8-*-step-1-*")
    point.unlink()
    assert main(world.arguments(out)) == 2
    assert "is at step 3, beyond 1: remove it" in capsys.readouterr().err
    shutil.rmtree(next((out / "runs").glob("width-24-patch-8-*")))
    assert main(world.arguments(out)) == 0
    assert [figures(each) for each in read_study(out / "results.json").points] == [
        figures(each) for each in world.study.points
    ]


def test_another_seed_is_added_to_those_that_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure, seen = Runner._measure, []

    def until_new(runner: Runner, stage: str, run: Run, step: int, points: list[Point]) -> dict[Point, Measured]:
        seen.append(run.seed)
        if run.seed:
            raise KeyboardInterrupt
        return measure(runner, stage, run, step, points)

    monkeypatch.setattr(Runner, "_measure", until_new)
    assert main([*world.arguments(world.out), "--seeds", "7"]) == 130
    assert seen[-1] == 7
    assert set(seen[:-1]) == {0}
    assert "the same command goes on" in capsys.readouterr().err


def test_data_without_a_part_to_test_with_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--out", str(tmp_path), "--data", "digits"]) == 2
    assert "a folder with MNIST's four files" in capsys.readouterr().err


def test_the_whole_plan_is_one_family_and_three_more_blocks() -> None:
    runs = {point.run for stage in STAGES.values() for point in stage(Plan(), 0)}
    assert len(runs) == len(Plan().sizes) * len(Plan().patches) + len(CONDITIONED) - 1
    assert {point.run.seed for point in STAGES["family"](Plan(), 7)} == {7}
    assert Plan().checkpoints[-1] == Plan().steps
