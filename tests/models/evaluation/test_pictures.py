"""A folder of pictures: which are taken, in which order, and the sentence for those that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.pictures import Pictures
from tests.models.evaluation.standin import random_images, save_pictures


def all_of(pictures: Pictures, size: int = 4) -> np.ndarray:
    return np.concatenate([batch.permute(0, 2, 3, 1).numpy() for batch in pictures.batches(size)])


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def refusal(folder: Path) -> str:
    with pytest.raises(EvaluationError) as raised:
        all_of(Pictures(folder))
    assert len(str(raised.value).replace(str(folder), "")) < 240
    return str(raised.value)


def test_pictures_at_any_depth_are_read_as_they_are(tmp_path: Path) -> None:
    images = random_images(12)
    save_pictures(tmp_path / "one", images[:5])
    save_pictures(tmp_path / "two" / "deep", images[5:], ".PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    save_pictures(tmp_path / ".thumbnails", random_images(3, seed=9))
    pictures = Pictures(tmp_path)
    assert (pictures.count, pictures.size, pictures.warnings) == (12, (8, 8), ())
    assert as_set(all_of(pictures)) == as_set(images)


def test_order_is_the_same_each_time_and_mixes_folders(tmp_path: Path) -> None:
    black, white = np.zeros((20, 8, 8, 3), np.uint8), np.full((20, 8, 8, 3), 255, np.uint8)
    save_pictures(tmp_path / "a", black)
    save_pictures(tmp_path / "b", white)
    first = all_of(Pictures(tmp_path))
    assert np.array_equal(first, all_of(Pictures(tmp_path), size=7))
    assert 4 <= (first[:20, 0, 0, 0] == 255).sum() <= 16


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    images = random_images(4)
    one, two = Pictures(save_pictures(tmp_path / "one", images)), Pictures(save_pictures(tmp_path / "two", images))
    assert one.identity() == two.identity()
    save_pictures(tmp_path / "two", random_images(1, seed=5))
    assert one.identity() != two.identity()


def test_jpeg_is_taken_and_warned_of_and_other_kinds_are_left_out(tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(3))
    save_pictures(tmp_path / "lossy", random_images(2), ".jpg")
    save_pictures(tmp_path / "other", random_images(2), ".bmp")
    pictures = Pictures(tmp_path)
    assert pictures.count == 5
    assert "2 of 5 pictures are JPEG" in pictures.warnings[0]
    assert "2 pictures of other kinds" in pictures.warnings[1]
    assert len(all_of(pictures)) == 5


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_grey_palettes_and_opaque_pictures_are_pictures_of_three_channels(mode: str, tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (8, 8), (102, 102, 102)).convert(mode).save(tmp_path / f"{i}.png")
    assert (all_of(Pictures(tmp_path)) == 102).all()


@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_more_than_eight_bits_or_transparency_is_refused(mode: str, tmp_path: Path) -> None:
    for i in range(2):
        Image.new(mode, (8, 8)).save(tmp_path / f"{i}.png")
    assert "save it as 8-bit RGB" in refusal(tmp_path)


def test_sizes_that_differ_are_refused_by_the_file(tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(20))
    Image.new("RGB", (16, 8)).save(tmp_path / "wide.png")
    sentence = refusal(tmp_path)
    assert "wide.png" in sentence
    assert "16x8" in sentence
    assert "--resolution N" in sentence


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)])
def test_a_damaged_picture_is_refused_by_its_name(damage: bytes, tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(6))
    (tmp_path / "00003.png").write_bytes(damage)
    sentence = refusal(tmp_path)
    assert "00003.png: cannot be read as a PNG" in sentence


def test_a_picture_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(3, side=64))
    path = tmp_path / "00001.png"
    path.write_bytes(path.read_bytes()[:2000])
    assert "00001.png: cannot be read as a PNG" in refusal(tmp_path)


def test_a_picture_of_enormous_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(2))
    Image.new("1", (20_000, 5_000)).save(tmp_path / "huge.png")
    assert "huge.png: is 20000x5000, and at most 4096 is taken" in refusal(tmp_path)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pictures_are_refused(count: int, tmp_path: Path) -> None:
    save_pictures(tmp_path, random_images(count))
    assert f"has {count} PNG in it" in refusal(tmp_path)
