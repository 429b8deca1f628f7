"""The digits are what the scans are, and a folder of images is read by its class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dit_serve.models.evaluation.statistics import frechet_distance, statistics_of
from dit_serve.models.training.datasets import (
    DIGIT_NAMES,
    Digits,
    ImageFolder,
    mirrored,
    open_dataset,
    shifted,
    split_digits,
    upsample_digits,
)
from dit_serve.models.training.upsampling import area_averages


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Two classes: a wide red picture and a tall green one, and one with an alpha channel beside a text file."""
    for name in ("otter", "heron", "empty"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "otter" / "b.png")
    Image.new("RGBA", (16, 16), (0, 0, 255, 255)).save(tmp_path / "otter" / "a.png")
    Image.new("RGB", (20, 50), (0, 255, 0)).save(tmp_path / "heron" / "1.JPG", format="JPEG", quality=95)
    (tmp_path / "otter" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_split_keeps_a_stratified_quarter_apart() -> None:
    (train, train_labels), (held_out, held_out_labels) = split_digits()
    assert (len(train), len(held_out)) == (1347, 450)
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in held_out}
    assert np.abs(np.bincount(train_labels) / 1347 - np.bincount(held_out_labels) / 450).max() < 0.002


@pytest.mark.parametrize("resolution", [64, 128])
def test_up_sampling_keeps_the_area_averages(resolution: int) -> None:
    (train, _), (held_out, _) = split_digits()
    found = area_averages(upsample_digits(train, resolution) / 255 * 16, 8).reshape(-1, 64)
    assert np.sqrt(np.mean((found - train) ** 2)) < 0.2
    real = statistics_of(held_out)
    assert frechet_distance(statistics_of(found), real) < frechet_distance(statistics_of(train), real) + 1.0


def test_up_sampling_is_smooth() -> None:
    (train, _), _ = split_digits()
    steps = np.abs(np.diff(upsample_digits(train[:200], 64).astype(float), axis=2))
    assert steps.max() < 0.6 * 255  # nearest neighbour would step by the whole range
    assert np.quantile(steps, 0.99) < 0.3 * 255


def test_up_sampling_refuses_a_resolution_that_is_no_multiple_of_eight() -> None:
    with pytest.raises(ValueError, match="multiple of 8, got 100"):
        upsample_digits(np.zeros((1, 64)), 100)


def test_digits_are_grey_images_in_minus_one_to_one() -> None:
    digits = Digits(64)
    images = digits.batch(torch.tensor([0, 5]))
    assert images.shape == (2, 3, 64, 64)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert images.max() <= 1
    torch.testing.assert_close(images[:, 0], images[:, 2])
    assert len(digits) == len(digits.labels) == 1347
    assert digits.names == DIGIT_NAMES


def test_digits_for_training_are_the_train_part_alone() -> None:
    (_, labels), _ = split_digits()
    assert open_dataset("digits", 8).labels.tolist() == labels.tolist()


def test_folder_numbers_classes_by_sorted_name_and_skips_what_is_no_picture(zoo: Path) -> None:
    dataset = open_dataset(str(zoo), 8)
    assert dataset.names == ("heron", "otter")
    assert dataset.labels.tolist() == [0, 1, 1]


def test_folder_reads_the_centre_square_as_rgb(zoo: Path) -> None:
    images = ImageFolder(zoo, 8).batch(torch.tensor([0, 1, 2]))
    assert images.shape == (3, 3, 8, 8)
    for image, colour in zip(images, ([-1, 1, -1], [-1, -1, 1], [1, -1, -1]), strict=True):
        torch.testing.assert_close(image.mean((1, 2)), torch.tensor(colour).float(), atol=0.02, rtol=0)


def test_folder_crops_the_middle(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "bars" / "bar.png")
    assert ImageFolder(tmp_path, 10).batch(torch.tensor([0])).min() == 1


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder of images at"):
        open_dataset(str(tmp_path / "nowhere"), 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no folder with pictures"):
        open_dataset(str(tmp_path), 8)


def test_shifts_move_each_image_by_at_most_the_reach() -> None:
    images = torch.full((200, 3, 9, 9), -1.0)
    images[:, :, 4, 4] = 1.0
    moved = shifted(images, 2, _generator())
    rows, columns = torch.where(moved[:, 0] == 1.0)[1:]
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [2, 3, 4, 5, 6]
    torch.testing.assert_close(shifted(images, 0, _generator()), images)


def test_shifts_bring_black_in() -> None:
    moved = shifted(torch.ones(50, 3, 8, 8), 1, _generator())
    assert set(moved.unique().tolist()) == {-1.0, 1.0}


def test_mirroring_flips_about_half_of_the_images() -> None:
    images = torch.arange(4.0).expand(1000, 3, 4, 4)
    is_flipped = mirrored(images, _generator())[:, 0, 0, 0] == 3.0
    assert 430 < int(is_flipped.sum()) < 570  # 500, four standard deviations of 16 either way
