"""What was found, as JSON: a file a training leg and a file a point while the study runs, one file of all at its end.

Each file appears whole or not at all, so what is there is done. Knows no network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_serve.models.training.saving import replacing

RESULTS = "results.json"  # of the whole study, in its folder


@dataclass(frozen=True, slots=True)
class Quality:
    """How good pictures are, by the features of the Fashion-MNIST classifier.

    Attributes:
        pictures: how many were judged.
        distance: Fréchet distance to all test pictures.
        precision, recall: against as many test pictures.
        recognised: share that is read as its class.
    """

    pictures: int
    distance: float
    precision: float
    recall: float
    recognised: float


@dataclass(frozen=True, slots=True)
class Model:
    """A run's network, with what a reader wants to know of it.

    Attributes:
        tokens: of one picture.
        gflops: multiply-adds of one forward pass in 1e9, as the paper counts.
    """

    run: str
    hidden_size: int
    depth: int
    num_heads: int
    patch_size: int
    conditioning: str
    seed: int
    tokens: int
    parameters: int
    gflops: float

    @property
    def label(self) -> str:
        """Its width and its patch, as the paper's names have size and patch."""
        return f"{self.hidden_size}/{self.patch_size}"


@dataclass(frozen=True, slots=True)
class Training:
    """A leg of a training, from one checkpoint to the next.

    Attributes:
        step: where it ended.
        steps: how many it had.
        timed_steps: how many of them the seconds are of; fewer where the study was cut in this leg.
        processor_seconds: of all threads, with the opening and the saving.
    """

    run: str
    step: int
    steps: int
    timed_steps: int
    processor_seconds: float
    wall_seconds: float
    machine: str

    @property
    def whole_seconds(self) -> float | None:
        """The leg's processor seconds, as far as the timed steps tell; None where they do not."""
        return self.processor_seconds * self.steps / self.timed_steps if self.timed_steps else None


@dataclass(frozen=True, slots=True)
class Measured:
    """One point: whose, after how many steps, sampled how, and how good.

    Attributes:
        processor_seconds: of sampling, decoding and judging.
    """

    model: Model
    step: int
    sampling_steps: int
    guidance_scale: float
    quality: Quality
    processor_seconds: float

    @property
    def sampling_gflops(self) -> float:
        """What one picture took: the network's passes, two a step where it is guided."""
        return self.model.gflops * self.sampling_steps * (1 if self.guidance_scale == 1 else 2)


@dataclass(frozen=True, slots=True)
class Study:
    """All of it.

    Attributes:
        about: what every figure depends on: plan, data, hashes of autoencoder and judge.
        floors: the quality of pictures that no model made, by what they are.
    """

    about: dict[str, Any]
    floors: dict[str, Quality]
    trainings: tuple[Training, ...]
    points: tuple[Measured, ...]

    def models(self) -> list[Model]:
        """Every network, in the order in which they were trained."""
        return list(dict.fromkeys(point.model for point in self.points))


def write_json(path: Path, value: object) -> None:
    """Writes a value whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value of a file.

    Raises:
        ValueError: there is none, or it holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no results at {path}: python -m benchmarks.scaling writes them") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: remove it, and the study makes it again") from error


def write_study(path: Path, study: Study) -> None:
    """Writes the whole study; its networks once each."""
    points = [asdict(point) | {"model": point.model.run} for point in study.points]
    write_json(path, asdict(study) | {"models": [asdict(model) for model in study.models()], "points": points})


def read_study(path: Path) -> Study:
    """The study that `write_study` wrote.

    Raises:
        ValueError: there is no such file, or it is of another form.
    """
    stored = read_json(path)
    try:
        models = {each["run"]: Model(**each) for each in stored["models"]}
        return Study(
            about=stored["about"],
            floors={name: Quality(**each) for name, each in stored["floors"].items()},
            trainings=tuple(Training(**each) for each in stored["trainings"]),
            points=tuple(measured(each | {"model": asdict(models[each["model"]])}) for each in stored["points"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no study of this form: remove it, and start the study again") from error


def measured(stored: dict[str, Any]) -> Measured:
    """A point as its own file has it."""
    return Measured(**stored | {"model": Model(**stored["model"]), "quality": Quality(**stored["quality"])})
