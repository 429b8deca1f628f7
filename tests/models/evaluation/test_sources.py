"""What a word on the command line names, and the images of data sets and models."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import load_pipeline
from dit_serve.models.errors import CheckpointError, EvaluationError
from dit_serve.models.evaluation.options import Sampling
from dit_serve.models.evaluation.sampled import ModelImages
from dit_serve.models.evaluation.sources import ArchiveImages, DatasetImages, ImageSource, kind_of, open_pictures
from dit_serve.models.options import ModelOptions
from dit_serve.models.training.datasets import Digits
from tests.models.evaluation.standin import random_images, save_npz, save_pictures


def all_of(source: ImageSource, size: int = 50) -> np.ndarray:
    return np.concatenate([batch.permute(0, 2, 3, 1).numpy() for batch in source.batches(size)])


def test_names_of_demos_data_sets_and_the_hub_are_known_without_a_look_at_any_file() -> None:
    assert [kind_of(name) for name in ("digits", "fashion", "fashion-test")] == ["dataset"] * 3
    assert [kind_of(name) for name in ("digits-64", "mine=digits-64", "facebook/DiT-XL-2-256")] == ["model"] * 3


def test_files_and_folders_are_known_by_what_is_in_them(folder: Path, tmp_path: Path) -> None:
    assert kind_of(str(folder)) == "model"
    assert kind_of(str(folder / "transformer")) == "model"
    assert kind_of(str(next((folder / "transformer").glob("*.safetensors")))) == "model"
    assert kind_of(str(save_pictures(tmp_path / "made", random_images(2)))) == "pictures"
    archive = save_npz(tmp_path / "a.npz", arr_0=random_images(2))
    assert kind_of(str(archive)) == "archive"
    assert kind_of(str(archive.rename(tmp_path / "a.zip"))) == "archive"
    torch.save({"x": torch.zeros(1)}, tmp_path / "model.pt")  # a zip too
    assert zipfile.is_zipfile(tmp_path / "model.pt")
    assert kind_of(str(tmp_path / "model.pt")) == "model"


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.npz", "no such file"), ("digts", "did you mean digits?"), ("one.png", "one picture"), ("a.npy", "one array")],
)
def test_what_names_nothing_is_refused(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made in ("one.png", "a.npy"):
        Path(made).touch()
    with pytest.raises(EvaluationError, match=words.replace("?", r"\?")):
        kind_of(name)


def test_a_data_sets_images_are_all_there_and_classes_are_mixed() -> None:
    digits = DatasetImages("digits", 16)
    images = all_of(digits)
    expected = (Digits(16).batch(torch.arange(1347)) + 1.0) * 127.5
    assert (digits.count, digits.size) == (1347, (16, 16))
    assert {image.tobytes() for image in images} == {
        image.tobytes() for image in expected.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    }
    assert digits.identity() == DatasetImages("digits", 16).identity() != DatasetImages("digits", 8).identity()


def test_a_data_set_that_is_none_is_refused_with_its_own_words() -> None:
    with pytest.raises(EvaluationError, match="a multiple of 8"):
        DatasetImages("digits", 12)


def test_pictures_of_different_sizes_are_cropped_and_scaled_where_a_resolution_is_asked_for(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a", random_images(2, side=20))
    save_pictures(tmp_path / "b", random_images(3, side=33))
    source = open_pictures(str(tmp_path), 16)
    assert (source.count, source.size) == (5, (16, 16))
    assert all_of(source).shape == (5, 16, 16, 3)


def test_an_archives_identity_is_that_of_its_content(tmp_path: Path) -> None:
    from dit_serve.models.evaluation.archives import Archive

    one, two, other = (
        ArchiveImages(Archive(save_npz(tmp_path / f"{name}.npz", arr_0=random_images(3, seed))))
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert one.identity() == two.identity() != other.identity()


def test_a_model_makes_classes_in_turn_with_seeds_one_after_another(folder: Path) -> None:
    sampling = Sampling(images=70, cfg=1.5, steps=2, sampler="ddim", seed=100)
    source = ModelImages(str(folder), sampling, ModelOptions())
    images = all_of(source, size=33)
    expected = load_pipeline(folder).generate(
        [i % 10 for i in range(70)], [100 + i for i in range(70)], steps=2, guidance_scale=1.5
    )
    assert np.array_equal(images, np.stack(expected))
    assert source.size == images.shape[1:3]


def test_a_models_images_have_an_identity_of_all_that_they_depend_on(folder: Path) -> None:
    def identity(**wishes: object) -> str:
        return ModelImages(str(folder), Sampling(**{"images": 10, **wishes}), ModelOptions()).identity()  # type: ignore[arg-type]

    assert identity() == identity(cfg=1.5, steps=250, sampler="ddpm", seed=0)
    others = [{"images": 20}, {"cfg": 1.25}, {"steps": 50}, {"sampler": "ddim"}, {"seed": 1}]
    assert len({identity(), *(identity(**each) for each in others)}) == 6


def test_unequal_classes_are_warned_of(folder: Path) -> None:
    (warning,) = ModelImages(str(folder), Sampling(images=13), ModelOptions(dtype="float32")).warnings
    assert "13 images of 10 classes are not equally many of each" in warning
    (warning,) = ModelImages(str(folder), Sampling(images=20), ModelOptions(dtype="bfloat16")).warnings
    assert "sampled in bfloat16" in warning


@pytest.mark.parametrize(
    ("wishes", "words"),
    [({"steps": 0}, "steps is 0"), ({"cfg": 99.0}, "cfg is 99.0; must"), ({"sampler": "euler"}, "sampler must be")],
)
def test_what_a_model_cannot_do_is_refused_before_it_begins(
    wishes: dict[str, object], words: str, folder: Path
) -> None:
    with pytest.raises(EvaluationError) as raised:
        ModelImages(str(folder), Sampling(images=10, **wishes), ModelOptions())  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError):
        ModelImages(str(tmp_path), Sampling(), ModelOptions())


@pytest.mark.parametrize("wishes", [{"images": 1}, {"seed": -1}, {"seed": 2**63 - 1, "images": 2}])
def test_wishes_that_are_none_are_refused(wishes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sampling(**wishes)
