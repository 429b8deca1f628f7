"""Fashion-MNIST, and any other set of pictures in MNIST's four files.

70,000 grey pictures of 28x28 pixels, ten kinds of clothes, 60,000 to train on and 10,000 to test with (Xiao, Rasul and
Vollgraf, arXiv 1708.07747, MIT licence). Debian has it as the package `dataset-fashion-mnist`. Up-sampled when a batch
asks for them; knows no model.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dit_serve.models.training.upsampling import upsample

FASHION_NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package
PARTS = {"train": "train", "test": "t10k"}  # the beginnings of MNIST's file names
_UNSIGNED_BYTE = 8  # IDX's code of the type
_MOST_BYTES = 1 << 30  # of one unpacked file: ten times the largest set that is published so


class IdxPictures:
    """Pictures and labels of one part, in MNIST's files `PART-images-idx3-ubyte.gz` and `PART-labels-idx1-ubyte.gz`."""

    def __init__(self, folder: Path, part: str, resolution: int, names: tuple[str, ...] | None = None) -> None:
        """Reads both files.

        Args:
            part: "train" or "test".
            names: of the classes; by default their numbers.

        Raises:
            ValueError: a file is not there or not what its name says, or the resolution is below the pictures' own.
        """
        self.scans = read_idx(folder / f"{PARTS[part]}-images-idx3-ubyte.gz", 3)
        labels = read_idx(folder / f"{PARTS[part]}-labels-idx1-ubyte.gz", 1)
        if len(self.scans) != len(labels) or not len(labels) or self.scans.shape[1] != self.scans.shape[2]:
            raise ValueError(f"{folder}: {self.scans.shape} pictures and {labels.shape} labels of {part} do not fit")
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.names = names or tuple(str(i) for i in range(int(labels.max()) + 1))
        if int(labels.max()) >= len(self.names):
            raise ValueError(f"{folder}: label {int(labels.max())} of {part}, but there are {len(self.names)} classes")
        self._resolution = resolution
        upsample(np.zeros((1, *self.scans.shape[1:])), resolution)  # refuses what would fail at the first batch

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of `rows`: (n,) int64 -> (n, 3, H, W) float32 in [-1, 1]."""
        images = upsample(self.scans[rows.numpy()].astype(np.float32) / np.float32(255.0), self._resolution)
        grey = torch.from_numpy(images).float() / 127.5 - 1.0
        return grey.unsqueeze(1).expand(-1, 3, -1, -1)


def open_fashion(part: str, resolution: int) -> IdxPictures:
    """Fashion-MNIST's part "train" or "test".

    Raises:
        ValueError: it is not installed, or the resolution is below 28.
    """
    if not FASHION_FOLDER.is_dir():
        raise ValueError(
            f"no Fashion-MNIST at {FASHION_FOLDER}: install Debian's package dataset-fashion-mnist, or name a folder "
            "that holds its four files instead"
        )
    return IdxPictures(FASHION_FOLDER, part, resolution, FASHION_NAMES)


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds pictures in MNIST's files."""
    return (folder / f"{PARTS['train']}-images-idx3-ubyte.gz").is_file()


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An array of bytes in IDX, MNIST's format: two zeros, the type, the number of dimensions, each size, the bytes.

    Raises:
        ValueError: it cannot be read, or is something else.
    """
    try:
        with gzip.open(path) as file:
            head = np.frombuffer(file.read(4 + 4 * dimensions), dtype=np.uint8)
            if len(head) < 4 + 4 * dimensions or head[:4].tolist() != [0, 0, _UNSIGNED_BYTE, dimensions]:
                raise ValueError(f"{path} is not an IDX file of {dimensions} dimensions of bytes")
            shape = [int(size) for size in head[4:].view(">u4")]
            size = math.prod(shape)
            if size > _MOST_BYTES:
                raise ValueError(f"{path} says that it holds {size} bytes, more than {_MOST_BYTES}")
            values = np.frombuffer(file.read(size + 1), dtype=np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        words = getattr(error, "strerror", None) or "it is not whole, or not packed by gzip"
        raise ValueError(f"{path} cannot be read: {words}") from error
    if len(values) != size:
        raise ValueError(f"{path} says that it holds {size} bytes, and does not")
    return values.reshape(shape)
