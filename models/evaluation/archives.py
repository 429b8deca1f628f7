"""The arrays in an .npz file: images in ADM's layout, statistics of a reference, or features of any network.

    arr_0          images (N, H, W, 3) uint8         arr_1           their labels, which no figure here needs
    mu, sigma      statistics of pooled features     mu_s, sigma_s   those of spatial ones
    features       (N, D)    spatial   (N, S)        probabilities   (N, K)

Everything is judged by the arrays' headers before any of them is read: names, shapes, number formats, and that what is
declared is what the archive has. No object is ever unpickled. Images are read a batch at a time, since those of 50,000
take ten gigabytes.

References: the .npy format (numpy.lib.format); guided-diffusion's evaluations/README.md.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dit_serve.models.checkpoints.files import reason
from dit_serve.models.errors import EvaluationError, listed, printable

IMAGES, LABELS = "arr_0", "arr_1"
RANKS = {"mu": 1, "sigma": 2, "mu_s": 1, "sigma_s": 2, "features": 2, "spatial": 2, "probabilities": 2}
MOST_WIDTH = 16_384  # of features: their covariance is square
MOST_SIDE = 4096  # of an image
MOST_HELD_BYTES = 16 << 30  # of arrays that are read whole: 50,000 x 2,048 in float64 are 0.8 GB
_SUFFIX = ".npy"
_ENCRYPTED = 1  # bit of a zip entry's flags
_FAULTS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of an archive, not read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool

    @property
    def data_bytes(self) -> int:
        """Of the array alone."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An .npz file whose headers are in order.

    Args:
        path: the file.

    Raises:
        EvaluationError: it is no archive of arrays, or one in it is not what its name says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise EvaluationError(f"{path}: is no regular file: give an .npz")
            with zipfile.ZipFile(path) as archive:
                found = [self._entry(archive, member) for member in archive.infolist()]
        except _FAULTS as error:
            raise self._damaged(error) from error
        self.entries = {entry.name: entry for entry in found}
        if len(self.entries) < len(found):
            raise EvaluationError(f"{path}: holds an array twice: write it anew with numpy.savez")
        self._check_names()
        for entry in found:
            self._check(entry)
        if sum(entry.data_bytes for entry in found if entry.name in RANKS) > MOST_HELD_BYTES:
            raise EvaluationError(f"{path}: its arrays take more than {MOST_HELD_BYTES >> 30} GiB: give fewer features")

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> np.ndarray:
        """A whole array of floats.

        Raises:
            EvaluationError: it is damaged, or holds what is no finite number.
        """
        entry = self.entries[name]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name + _SUFFIX) as file:
                _read_header(file)
                flat = np.frombuffer(_read(file, entry.data_bytes), entry.dtype)
        except _FAULTS as error:
            raise self._damaged(error) from error
        array = flat.reshape(entry.shape, order="F" if entry.is_fortran else "C")
        if not np.isfinite(array).all():
            raise EvaluationError(f"{self.path}: {name} holds NaN or infinity: compute it again from whole images")
        return array

    def images(self, size: int) -> Iterator[np.ndarray]:
        """The images, at most `size` at once: (n, H, W, 3) uint8.

        Raises:
            EvaluationError: the file is damaged.
        """
        entry = self.entries[IMAGES]
        count, each = entry.shape[0], math.prod(entry.shape[1:])
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(IMAGES + _SUFFIX) as file:
                _read_header(file)
                for first in range(0, count, size):
                    n = min(size, count - first)
                    yield np.frombuffer(_read(file, n * each), np.uint8).reshape(n, *entry.shape[1:])
        except _FAULTS as error:
            raise self._damaged(error) from error

    def _entry(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
        if not member.filename.endswith(_SUFFIX) or member.flag_bits & _ENCRYPTED:
            raise EvaluationError(
                f"{self.path}: holds {printable(member.filename, 60)!r}, which is no plain array: write it with "
                "numpy.savez"
            )
        name = member.filename.removesuffix(_SUFFIX)
        with archive.open(member) as file:
            shape, is_fortran, dtype = _read_header(file)
            entry, header_bytes = Entry(name, shape, dtype, is_fortran), file.tell()
        if dtype.hasobject:
            raise EvaluationError(
                f"{self.path}: {printable(name, 40)} holds Python objects, which are never opened: save numbers alone"
            )
        if header_bytes + entry.data_bytes != member.file_size:
            raise EvaluationError(
                f"{self.path}: {printable(name, 40)} says that it is {_told(shape)} {dtype}, and has another length: "
                "the file is damaged, copy or write it anew"
            )
        return entry

    def _check_names(self) -> None:
        known = {IMAGES, LABELS, *RANKS}
        if unknown := sorted(self.entries.keys() - known):
            raise EvaluationError(
                f"{self.path}: holds {listed(unknown, 60)}, and known are {IMAGES} (images), features, spatial, "
                "probabilities, mu, sigma, mu_s and sigma_s: rename or leave out"
            )
        for one, other in (("mu", "sigma"), ("mu_s", "sigma_s")):
            if (one in self) != (other in self):
                there, missing = (one, other) if one in self else (other, one)
                raise EvaluationError(f"{self.path}: holds {there} and no {missing}: statistics are both of them")
        if not self.entries.keys() - {LABELS}:
            raise EvaluationError(f"{self.path}: holds nothing to measure: give {IMAGES} (images), or features")
        if IMAGES in self and "features" in self:
            raise EvaluationError(f"{self.path}: holds images ({IMAGES}) and features: leave out one of them")

    def _check(self, entry: Entry) -> None:
        """Refuses what is not of the form that the name stands for."""
        if entry.name == LABELS:
            return
        if entry.name == IMAGES:
            self._check_images(entry)
            return
        if entry.dtype.kind != "f" or len(entry.shape) != RANKS[entry.name]:
            raise EvaluationError(
                f"{self.path}: {entry.name} is {_told(entry.shape)} {entry.dtype}, and must have "
                f"{RANKS[entry.name]} axes of floats"
            )
        width = entry.shape[-1]
        if not 1 <= width <= MOST_WIDTH:
            raise EvaluationError(f"{self.path}: {entry.name} has {width} columns, and 1 to {MOST_WIDTH} are taken")
        if entry.name.startswith("sigma"):
            mean = self.entries[entry.name.replace("sigma", "mu")]
            if entry.shape != (width, width) or mean.shape[-1:] != (width,):
                raise EvaluationError(
                    f"{self.path}: {entry.name} is {_told(entry.shape)} and {mean.name} {_told(mean.shape)}: they must "
                    "be (D, D) and (D,)"
                )
        if entry.name in ("features", "spatial", "probabilities") and entry.shape[0] != self._rows():
            raise EvaluationError(f"{self.path}: {entry.name} has {entry.shape[0]} rows, and others {self._rows()}")
        if entry.name in ("features", "spatial", "probabilities") and entry.shape[0] < 2:
            raise EvaluationError(f"{self.path}: {entry.name} has {entry.shape[0]} rows: give 2 at least")

    def _rows(self) -> int:
        """How many images the arrays are of, by the first that says it."""
        names = (IMAGES, "features", "spatial", "probabilities")
        return next(self.entries[name].shape[0] for name in names if name in self)

    def _check_images(self, entry: Entry) -> None:
        shape, told = entry.shape, f"{self.path}: {entry.name} is {_told(entry.shape)} {entry.dtype}"
        if len(shape) == 4 and shape[3] != 3 and shape[1] == 3:
            raise EvaluationError(f"{told}, with channels first: images are (N, H, W, 3), so transpose(0, 2, 3, 1)")
        if len(shape) != 4 or shape[3] != 3:
            raise EvaluationError(f"{told}: images are (N, H, W, 3) uint8")
        if entry.dtype != np.uint8:
            raise EvaluationError(f"{told}: images are uint8, 0 to 255, so scale, round and convert them first")
        if entry.is_fortran:
            raise EvaluationError(f"{told}, in Fortran's order: save numpy.ascontiguousarray of it")
        if shape[0] < 2:
            raise EvaluationError(f"{told}: give 2 images at least")
        if not all(1 <= side <= MOST_SIDE for side in shape[1:3]):
            raise EvaluationError(f"{told}, and sides of 1 to {MOST_SIDE} are taken")

    def _damaged(self, error: Exception) -> EvaluationError:
        words = printable(reason(error), 100)
        return EvaluationError(f"{self.path}: cannot be read as an .npz ({words}): copy or write it anew")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype of the array that follows in the file; its text is read as a literal, and never run."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"format {version} of an array is not known")


def _read(file: IO[bytes], count: int) -> bytes:
    """Exactly so many bytes."""
    data = file.read(count)
    if len(data) < count:
        raise EOFError("it ends in the middle of an array")
    return data


def _told(shape: tuple[int, ...]) -> str:
    return printable(shape, 60)
