"""The folder for what is computed once from a checkpoint's files, and the SHA-256 sums that name its entries.

    $DIT_CACHE, or ~/.cache/dit-serve
      sums/         SHA-256 of files, by their paths: valid while each file's size and times are the same
      converted/    safetensors made from pickles, by the pickle's SHA-256 (convert.py)

Knows no file format. Losing the folder costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from dit_serve.models.checkpoints.files import reason
from dit_serve.models.errors import CheckpointError

_CHUNK = 4 * 2**20


def cache_folder() -> Path:
    """Return where the cache is; it need not exist yet."""
    return Path(os.environ.get("DIT_CACHE") or Path.home() / ".cache" / "dit-serve")


def files_sha256(paths: Sequence[Path]) -> str:
    """Return the SHA-256, in hex, of the files' bytes one after the other in this order.

    For one file it is what `sha256sum` prints. Files of many gigabytes are read once: the sum is kept until a file
    changes.

    Raises:
        CheckpointError: a file cannot be read, or changes meanwhile.
    """
    stamp = _stamp(paths)
    known = _read_entry(_entry(stamp))
    if known.get("files") == stamp and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    return _read_sum(paths, stamp)


def read_sha256(path: Path) -> str:
    """Return the SHA-256, in hex, of the file as it is now: it is read, whatever is known of it.

    Raises:
        CheckpointError: the file cannot be read, or changes meanwhile.
    """
    return _read_sum([path], _stamp([path]))


def _read_sum(paths: Sequence[Path], stamp: list[list[str | int]]) -> str:
    """The sum of files read now, kept for the next who asks."""
    digest = hashlib.sha256()
    for path in paths:
        _feed(digest, path)
    if _stamp(paths) != stamp:
        raise CheckpointError(f"{paths[0]}: was changed while it was read: wait until it is written, then try again")
    _write_entry(_entry(stamp), {"files": stamp, "sha256": digest.hexdigest()})
    return digest.hexdigest()


def _entry(stamp: list[list[str | int]]) -> Path:
    """Where the sum of these files is kept."""
    return cache_folder() / "sums" / f"{hashlib.sha256(repr([s[0] for s in stamp]).encode()).hexdigest()}.json"


def _stamp(paths: Sequence[Path]) -> list[list[str | int]]:
    """Each file's absolute path, size and times of change; the second time moves even when a copy keeps the first."""
    try:
        stats = [(os.path.abspath(path), path.stat()) for path in paths]
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read ({reason(error)}): give a readable file") from error
    return [[path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in stats]


def _feed(digest: hashlib._Hash, path: Path) -> None:
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}): give a readable file") from error


def _read_entry(entry: Path) -> dict[str, object]:
    try:
        value = json.loads(entry.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # never written, or not by us: computed anew
    return value if isinstance(value, dict) else {}


def _write_entry(entry: Path, value: dict[str, object]) -> None:
    """Keep a sum, whole or not at all; a cache that cannot be written only means that it is computed again."""
    partial = entry.with_suffix(f".{os.getpid()}.{threading.get_ident()}.partial")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value), encoding="utf-8")
        os.replace(partial, entry)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
