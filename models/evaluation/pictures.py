"""A folder of pictures as images to measure: PNG at any depth, all of one size.

They come in an order that is drawn by their paths below the folder, the same each time: sorted, pictures of one class
would follow each other, and each run of the Inception score would see few classes. JPEG is taken and warned of, for its
losses are a difference that every network sees. Nothing is scaled or cropped here.
Knows no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dit_serve.models.checkpoints.files import reason
from dit_serve.models.errors import EvaluationError, printable
from dit_serve.models.evaluation.archives import MOST_SIDE

LOSSLESS, LOSSY = frozenset({".png"}), frozenset({".jpg", ".jpeg"})
OTHERS = frozenset({".bmp", ".gif", ".tif", ".tiff", ".webp"})
_MOST_READERS = 8


class Pictures:
    """The pictures below a folder.

    Args:
        folder: where they are; links to folders are not followed.

    Raises:
        EvaluationError: there are fewer than two, or the first cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        found = sorted(_files(folder), key=lambda path: _drawn(path.relative_to(folder)))
        self._paths = [path for path in found if path.suffix.lower() in LOSSLESS | LOSSY]
        if len(self._paths) < 2:
            raise EvaluationError(f"{folder}: has {len(self._paths)} PNG in it: give a folder of 2 pictures at least")
        self.count = len(self._paths)
        with _no_word_of_large_ones():
            first = _read_picture(self._paths[0])
        self.size = (first.shape[0], first.shape[1])
        self.warnings = tuple(self._notes(found))

    def identity(self) -> str:
        """The SHA-256 of the files, one after the other with their lengths."""
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise _unreadable(path, error) from error
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The pictures, at most `size` at once: (n, 3, H, W) uint8.

        Raises:
            EvaluationError: one cannot be read, or is of another size than the first.
        """
        with ThreadPoolExecutor(min(_MOST_READERS, os.cpu_count() or 1)) as readers:
            for first in range(0, self.count, size):
                paths = self._paths[first : first + size]
                with _no_word_of_large_ones():
                    images = list(readers.map(_read_picture, paths))
                for path, image in zip(paths, images, strict=True):
                    if image.shape[:2] != self.size:
                        raise EvaluationError(
                            f"{path}: is {_told(image.shape)}, and {self._paths[0].name} is {_told(self.size)}: one "
                            "figure needs images of one size; --resolution N crops and scales them"
                        )
                yield torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def _notes(self, found: list[Path]) -> Iterator[str]:
        lossy = sum(path.suffix.lower() in LOSSY for path in self._paths)
        if lossy:
            yield f"{self.name}: {lossy} of {self.count} pictures are JPEG, and figures measure its losses too: use PNG"
        others = sum(path.suffix.lower() in OTHERS for path in found)
        if others:
            yield f"{self.name}: {others} pictures of other kinds than PNG and JPEG are left out"


@contextlib.contextmanager
def _no_word_of_large_ones() -> Iterator[None]:
    """Keeps Pillow from warning of large pictures, which are refused by their sides; for all threads at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _drawn(path: Path) -> bytes:
    """What paths are sorted by, so that neighbours are strangers."""
    return hashlib.sha256(os.fsencode(path.as_posix())).digest()


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        yield from (Path(where, name) for name in names if not name.startswith("."))


def _read_picture(path: Path) -> np.ndarray:
    """One picture: (H, W, 3) uint8."""
    try:
        if not path.is_file():
            raise EvaluationError(f"{path}: is no regular file: remove it")
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if max(picture.size) > MOST_SIDE:
                raise EvaluationError(f"{path}: is {_told(picture.size[::-1])}, and at most {MOST_SIDE} is taken")
            _refuse_depth(path, picture)
            return np.array(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _refuse_depth(path: Path, picture: Image.Image) -> None:
    """Refuses what is more than three channels of eight bits."""
    is_plain = picture.mode in ("RGB", "L", "P", "1") and "transparency" not in picture.info
    is_opaque = picture.mode in ("RGBA", "LA") and picture.getchannel("A").getextrema() == (255, 255)
    if not is_plain and not is_opaque:
        raise EvaluationError(
            f"{path}: is of the kind {picture.mode}, with transparency or more than 8 bits: save it as 8-bit RGB"
        )


def _unreadable(path: Path, error: Exception) -> EvaluationError:
    words = printable(reason(error).replace(repr(str(path)), "it"), 100)
    return EvaluationError(f"{path}: cannot be read as a PNG ({words}): make it again, or remove it")


def _told(shape: tuple[int, ...]) -> str:
    """Height and width as people write them, width first."""
    return f"{shape[1]}x{shape[0]}"
