"""MNIST's files are read as they are, and what is none of them is told in a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve.models.training import fashion
from dit_serve.models.training.datasets import open_dataset
from dit_serve.models.training.fashion import FASHION_NAMES, IdxPictures, read_idx


def write_idx(path: Path, values: np.ndarray) -> None:
    """Writes an array of bytes as MNIST's files hold it."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    """Six pictures to train on and four to test with, each of one grey, of three classes."""
    for part, count in (("train", 6), ("t10k", 4)):
        greys = np.arange(count) * 40
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.tile(greys[:, None, None], (1, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 3)
    return tmp_path


def test_a_folder_of_mnists_files_is_a_dataset(idx: Path) -> None:
    dataset = open_dataset(str(idx), 64)
    assert (len(dataset), dataset.names) == (6, ("0", "1", "2"))
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2]
    images = dataset.batch(torch.tensor([2, 5]))
    assert images.shape == (2, 3, 64, 64)
    assert images.dtype == torch.float32
    centre = images[:, :, 24:40, 24:40]
    torch.testing.assert_close(centre.mean((1, 2, 3)), torch.tensor([80.0, 200.0]) / 127.5 - 1, atol=0.01, rtol=0)


def test_fashion_has_a_part_to_train_on_and_one_to_test_with(idx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "FASHION_FOLDER", idx)
    train, test = open_dataset("fashion", 64), open_dataset("fashion-test", 64)
    assert (len(train), len(test)) == (6, 4)
    assert train.names == test.names == FASHION_NAMES


def test_fashion_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "FASHION_FOLDER", tmp_path / "none")
    with pytest.raises(ValueError, match="install Debian's package dataset-fashion-mnist"):
        open_dataset("fashion", 64)


def test_pictures_and_labels_must_be_as_many(idx: Path) -> None:
    write_idx(idx / "train-labels-idx1-ubyte.gz", np.arange(5))
    with pytest.raises(ValueError, match=r"\(6, 28, 28\) pictures and \(5,\) labels"):
        open_dataset(str(idx), 64)


def test_a_label_beyond_the_names_is_refused(idx: Path) -> None:
    with pytest.raises(ValueError, match="label 2 of train, but there are 2 classes"):
        IdxPictures(idx, "train", 64, ("a", "b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "not packed by gzip"),
        (gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + bytes(8))[:-12], "it is not whole"),
        (gzip.compress(b"\0\0\x0d\x03" + bytes(12)), "not an IDX file of 3 dimensions of bytes"),
        (gzip.compress(b"\0\0\x08"), "not an IDX file"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "more than"),
        (gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"1234567"), "says that it holds 8 bytes"),
        (gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"123456789"), "says that it holds 8 bytes"),
    ],
)
def test_what_is_no_idx_file_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "a.gz", 3)
