"""Where a command writes its images: a folder or one file, looked at before anything is computed.

What is written appears whole or not at all: a full disk or Ctrl-C leaves the file that was there before, or none.
Knows no image.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dit_serve.models.checkpoints.files import read_start
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.options import expanded
from dit_serve.service.errors import CommandError


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder, and the file in it where only one is to be written."""

    folder: Path
    file: Path | None = None

    def path(self, name: str) -> Path:
        """Where what would be called `name` goes."""
        return self.file or self.folder / name


def read_destination(text: str, suffix: str, count: int = 1) -> Destination:
    """What `--out` means: a file if it ends in the suffix and is no folder already, else a folder.

    Args:
        text: as given; with a slash at its end it is a folder in any case.
        suffix: of the files that the command writes, with its dot.
        count: how many of them.

    Raises:
        CommandError: it names something else than is needed.
    """
    path = Path(expanded(text))
    with told(path):
        mode = path.stat().st_mode if os.path.exists(path) else 0
    if stat.S_ISDIR(mode):
        return Destination(path)
    if text.endswith("/") or path.suffix.lower() != suffix:
        if mode:
            raise CommandError(f"{path}: --out is a file already: give a folder, or a name that ends in {suffix}")
        return Destination(path)
    if mode and not stat.S_ISREG(mode):
        raise CommandError(f"{path}: --out is neither a regular file nor a folder: choose another one")
    if count > 1:
        raise CommandError(f"{path}: --out is one file, and {count} are to be written: give a folder")
    return Destination(path.parent, path)


def make_ready(folder: Path) -> None:
    """Makes the folder if need be, and sees that a file can be written there.

    Raises:
        CommandError: it cannot.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _partial(folder) as partial:
            partial.touch(exist_ok=False)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file by way of another one beside it, which is removed whatever happens; a link stays a link.

    Raises:
        CommandError: it cannot be written; the file that was there is as it was.
    """
    with told(path):
        target = Path(os.path.realpath(path))
        with _partial(target.parent) as partial:
            with partial.open("xb") as file:
                file.write(data)
            os.replace(partial, target)


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; nothing else is opened, for a pipe or a terminal may never end.

    Raises:
        CommandError: there is none, it is of another kind or too large.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CommandError(f"{path}: is no regular file: give one")
        if size > most_bytes:
            raise CommandError(f"{path}: has {size} bytes, and at most {most_bytes} are read: give another file")
        data = read_start(path, most_bytes + 1)  # it may have grown, or be another one by now
    except FileNotFoundError as error:
        raise CommandError(f"{path}: {error.strerror}{hint(path)}") from None
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror}): give a readable file") from None
    if len(data) > most_bytes:
        raise CommandError(f"{path}: has more than the {most_bytes} bytes that are read: give another file")
    return data


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what the system refuses while a path is written into a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CommandError(f"{path}: cannot be written ({reason}): make room, or choose another place") from error


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A hidden name in the folder that nobody else uses; afterwards there is nothing under it."""
    partial = folder / f".dit-{secrets.token_hex(8)}.partial"
    try:
        yield partial
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
