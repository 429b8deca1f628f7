"""Finds a checkpoint on this machine by the SHA-256 of its weights, which is how receipts name it.

Looked at are the demos, and the files whose sums the cache keeps (cache.py): those that were opened here before and
have not changed since. Nothing is downloaded, and no path is opened that is not known already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dit_serve.models.checkpoints.cache import known_sums
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.wrappers import read_facts
from dit_serve.models.errors import CheckpointError
from dit_serve.models.registry import DEMOS, demo_path

_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_by_sha256(sha256: str, weights: str | None = None) -> Path | None:
    """Return a file or folder that `open_checkpoint` takes and whose weights have this sum; None if none is known.

    A conversion counts as what it was made from.

    Args:
        weights: "model" or "ema", which of its weights the checkpoint has to have; None for any.
    """
    if not _SHA256.fullmatch(sha256):
        return None
    return next((path for path in _candidates(sha256) if _is_it(path, sha256, weights)), None)


def _candidates(sha256: str) -> Iterator[Path]:
    """The likeliest first."""
    yield from filter(None, map(demo_path, DEMOS))
    known = list(known_sums())
    for files, own_sha256 in known:
        if own_sha256 == sha256:
            yield from _places(files)
    for files, _ in known:
        if len(files) == 1 and _source_sum(files[0]) == sha256:
            yield files[0]


def _places(files: tuple[Path, ...]) -> Iterator[Path]:
    """What these weights files may be named by: a pipeline's folder, a transformer's, or the file itself."""
    folder = files[0].parent
    if (folder.parent / "model_index.json").exists():
        yield folder.parent
    if (folder / "config.json").exists():
        yield folder
    if len(files) == 1:
        yield files[0]


def _source_sum(path: Path) -> str | None:
    """The SHA-256 of what a file was converted from, None if it is no conversion."""
    try:
        return read_facts(path).source_sha256
    except CheckpointError:
        return None


def _is_it(path: Path, sha256: str, weights: str | None) -> bool:
    try:
        return open_checkpoint(path, weights=weights).sha256 == sha256
    except CheckpointError:  # of another kind than its sum promised: a part of one, or changed meanwhile
        return False
