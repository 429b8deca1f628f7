"""Files that a training writes: each appears whole or not at all, and a full disk is told in a sentence.

Whoever reads the folder meanwhile, or goes on with the training after it broke off, sees the old file or the new one.
Knows no format.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from dit_serve.models.errors import CheckpointError

STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}  # weights, by name
STATE_FILE = "training/state.pt"  # what a run goes on from, beside what it exported; not needed to serve


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when that is done, and is gone whatever happens.

    Raises:
        CheckpointError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what keeps a file from being written into a CheckpointError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save tells of a full disk by a RuntimeError
        words = (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0][:120]
        raise CheckpointError(f"{path}: cannot be written ({words}): make room, then start again") from error


def copy_folder(source: Path, target: Path, last: str) -> None:
    """Copies a folder's own files; the one called `last` at the end, so that where it is, all are.

    Raises:
        CheckpointError: one cannot be written.
    """
    files = [path for path in sorted(source.iterdir()) if path.is_file()]
    for file in sorted(files, key=lambda path: path.name == last):
        with replacing(target / file.name) as partial:
            shutil.copyfile(file, partial)
