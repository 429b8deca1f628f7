"""Training images: scikit-learn's digits, Fashion-MNIST, and any folder that holds one folder of pictures per class.

A dataset here is a small thing: how many images, their labels, the names of the classes, and `batch(rows)`, which gives
those rows as one tensor in [-1, 1]. Knows no model, no latents and no training loop.

The digits (Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; 1,797 scans of 8x8 pixels,
0 to 16) are up-sampled by upsampling.py, faithful enough that the Fréchet distance of the train part to the held-out
quarter is 23.0 after the round trip, where the scans themselves have 22.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.options import expanded
from dit_serve.models.training.fashion import IdxPictures, is_idx_folder, open_fashion
from dit_serve.models.training.upsampling import upsample

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_SIDE = 8  # pixels of a scan
DIGIT_INK = 16.0  # the largest value of a scan
DATASETS = ("digits", "fashion", "fashion-test")  # by name, beside folders
DATA_HELP = "digits, fashion (Debian's dataset-fashion-mnist), or a folder with one folder of pictures per class"
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


class Dataset(Protocol):
    """Labelled images of one resolution."""

    labels: torch.Tensor  # (N,) int64

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of `rows`: (n,) int64 -> (n, 3, H, W) float32 in [-1, 1]."""
        ...


class Digits:
    """The digits, white ink on black: the three quarters that may be trained on."""

    names = DIGIT_NAMES

    def __init__(self, resolution: int) -> None:
        (scans, labels), _ = split_digits()
        self.labels = torch.from_numpy(labels)
        self._images = upsample_digits(scans, resolution)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of `rows`: (n,) int64 -> (n, 3, H, W) float32 in [-1, 1]."""
        grey = torch.from_numpy(self._images[rows.numpy()]).float() / 127.5 - 1.0
        return grey.unsqueeze(1).expand(-1, 3, -1, -1)


class ImageFolder:
    """Pictures in one folder per class (`root/otter/1.png`), the classes numbered by their sorted names."""

    def __init__(self, root: Path, resolution: int) -> None:
        """Lists the pictures; they are read and cropped when a batch asks for them.

        Raises:
            ValueError: there is no folder `root`, or it has no folder with pictures in it.
        """
        if not root.is_dir():
            near = hint(root, DATASETS)
            raise ValueError(f"no folder of images at {root}; it must hold one folder of pictures per class{near}")
        found = {folder.name: _pictures_in(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
        found = {name: pictures for name, pictures in found.items() if pictures}
        if not found:
            raise ValueError(f"{root} holds no folder with pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) in it")
        self.names = tuple(found)
        self._paths = [path for pictures in found.values() for path in pictures]
        self.labels = torch.tensor([i for i, pictures in enumerate(found.values()) for _ in pictures])
        self._resolution = resolution

    def __len__(self) -> int:
        return len(self._paths)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of `rows`, cropped to the centre square: (n,) int64 -> (n, 3, H, W) float32 in [-1, 1]."""
        return torch.stack([_read_square(self._paths[row], self._resolution) for row in rows.tolist()])


def open_dataset(source: str, resolution: int) -> Dataset:
    """The dataset that a user names: one of `DATASETS`, or the path of a folder of images or of MNIST's files.

    "digits" and "fashion" are the parts for training, "fashion-test" is what must not be trained on.

    Raises:
        ValueError: the resolution or the folder does not fit, with the reason.
    """
    if source == "digits":
        return Digits(resolution)
    if source in DATASETS:
        return open_fashion("test" if source == "fashion-test" else "train", resolution)
    folder = Path(expanded(source))
    return IdxPictures(folder, "train", resolution) if is_idx_folder(folder) else ImageFolder(folder, resolution)


def split_digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The scans as (train, held out), each (scans (N, 64) float64 in 0..16, labels (N,) int64).

    The split is fixed, stratified and shared by training and evaluation, so the held-out quarter stays unseen.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(digits.data, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    return (parts[0], parts[2].astype(np.int64)), (parts[1], parts[3].astype(np.int64))


def upsample_digits(scans: np.ndarray, resolution: int) -> np.ndarray:
    """Scans as smooth pictures whose area averages are the scans: (N, 64) in 0..16 -> (N, H, W) uint8.

    Raises:
        ValueError: the resolution is not a multiple of 8.
    """
    if resolution <= 0 or resolution % DIGIT_SIDE:
        raise ValueError(f"digits need a resolution that is a multiple of {DIGIT_SIDE}, got {resolution}")
    return upsample(scans.reshape(-1, DIGIT_SIDE, DIGIT_SIDE) / DIGIT_INK, resolution)


def shifted(images: torch.Tensor, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to `reach` pixels both ways, black coming in: (N, 3, H, W) -> the same shape."""
    if reach == 0:
        return images
    side = images.shape[-1]
    padded = torch.nn.functional.pad(images, (reach,) * 4, value=-1.0)
    corners = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack([image[:, i : i + side, j : j + side] for image, (i, j) in zip(padded, corners, strict=True)])


def mirrored(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image flipped left to right with probability one half: (N, 3, H, W) -> the same shape."""
    is_flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(is_flipped[:, None, None, None], images.flip(-1), images)


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)


def _read_square(path: Path, resolution: int) -> torch.Tensor:
    """One picture, its centre square scaled to `resolution`: (3, H, W) float32 in [-1, 1]."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.resize((resolution, resolution), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1.0
