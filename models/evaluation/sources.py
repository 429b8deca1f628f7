"""Where images to measure come from: one small protocol, and what a word on the command line names.

    an .npz            archives.py             a folder of pictures    pictures.py
    a data set         digits, fashion, …      a model                 sampled.py makes its images

Knows no network.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import torch

from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.components.component_weights import WEIGHTS_ENDINGS
from dit_serve.models.checkpoints.hub import is_hub_id
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.archives import IMAGES, Archive
from dit_serve.models.evaluation.pictures import Pictures
from dit_serve.models.options import expanded, split_name
from dit_serve.models.registry import DEMOS, demo_path
from dit_serve.models.training.datasets import DATASETS, PICTURE_SUFFIXES, Dataset, open_dataset

Kind = Literal["archive", "pictures", "dataset", "model"]
_OF_A_MODEL = ("model_index.json", "config.json", "transformer", "transformer_ema")


class ImageSource(Protocol):
    """Images of one size, in a fixed order, that can be gone through more than once."""

    @property
    def name(self) -> str:
        """As it was given."""
        ...

    @property
    def count(self) -> int:
        """Of images, 2 at least."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever reads the figures should know, a sentence each."""
        ...

    def identity(self) -> str:
        """A word that other images do not have."""
        ...

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The images, at most `size` at once: (n, 3, H, W) uint8."""
        ...


class ArchiveImages:
    """The images of an .npz that has some."""

    warnings: tuple[str, ...] = ()

    def __init__(self, archive: Archive) -> None:
        shape = archive.entries[IMAGES].shape
        self.name, self.count, self.size = str(archive.path), shape[0], (shape[1], shape[2])
        self._archive = archive

    def identity(self) -> str:
        """The SHA-256 of the file."""
        return files_sha256([self._archive.path])

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The images, at most `size` at once: (n, 3, H, W) uint8."""
        for images in self._archive.images(size):
            yield torch.from_numpy(images.copy()).permute(0, 3, 1, 2)


class DatasetImages:
    """A data set's images as a training sees them, but unshifted, and in one order that mixes the classes.

    Args:
        source: as `open_dataset` takes it.
        resolution: side of the images.

    Raises:
        EvaluationError: there is no such data set, or it does not fit.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, source: str, resolution: int) -> None:
        self.name, self.size = source, (resolution, resolution)
        try:
            self._dataset: Dataset = open_dataset(source, resolution)
        except ValueError as error:
            raise EvaluationError(str(error)) from error
        self.count = len(self._dataset)
        self._rows = torch.randperm(self.count, generator=torch.Generator().manual_seed(0))
        if self.count < 2:
            raise EvaluationError(f"{source}: has {self.count} images, and 2 at least are needed")

    def identity(self) -> str:
        """The SHA-256 of the images themselves."""
        digest = hashlib.sha256(repr(self.size).encode())
        for images in self.batches(256):
            digest.update(images.contiguous().numpy().data)
        return digest.hexdigest()

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The images, at most `size` at once: (n, 3, H, W) uint8."""
        for first in range(0, self.count, size):
            images = self._dataset.batch(self._rows[first : first + size])
            yield ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)


def kind_of(text: str) -> Kind:
    """What a word names: data sets by their names, files and folders by what is in them, and else a model.

    Raises:
        EvaluationError: there is no such thing, or it is a file that is neither an .npz nor a model.
    """
    if text in DATASETS:
        return "dataset"
    if demo_path(split_name(text)[1]) is not None:
        return "model"
    path = Path(expanded(text))
    if path.is_dir():
        return "model" if _is_model(path) else "pictures"
    if path.exists():
        return _kind_of_file(path)
    if (is_hub_id(split_name(text)[1]) and path.suffix != ".npz") or Path(split_name(text)[1]).exists():
        return "model"
    near = hint(path, [*DATASETS, *DEMOS])
    raise EvaluationError(f"{path}: no such file, folder, data set or model{near or ': check the path'}")


def open_pictures(text: str, resolution: int | None) -> ImageSource:
    """A folder's pictures: as they are, or where a resolution is asked for, their centre squares scaled to it.

    Raises:
        EvaluationError: see `Pictures` and `DatasetImages`.
    """
    folder = Path(expanded(text))
    return Pictures(folder) if resolution is None else DatasetImages(str(folder), resolution)


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in _OF_A_MODEL) or any(
        path.suffix in WEIGHTS_ENDINGS for path in folder.iterdir()
    )


def _kind_of_file(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return "archive"
    if suffix in PICTURE_SUFFIXES:
        raise EvaluationError(f"{path}: is one picture: give the folder that it is in")
    if suffix == ".npy":
        raise EvaluationError(f"{path}: is one array: write it as an .npz, numpy.savez(FILE, {IMAGES}=images)")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            return "archive"
    return "model"
