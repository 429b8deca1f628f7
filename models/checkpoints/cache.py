"""The folder for what is computed once from a checkpoint's files, and the SHA-256 sums that name its entries.

    $DIT_CACHE, or ~/.cache/dit-serve, or where neither is to be had a folder of the user's own for temporary files
      sums/         SHA-256 of files, by their paths: valid while each file's size and times are the same
      converted/    safetensors made from pickles, by the pickle's SHA-256 (convert.py)
      evaluation/   what networks made of images that were measured (models/evaluation/caching.py)
      downloads/    weights of such networks

Knows no file format. Losing the folder costs time, nothing else. What is in it is believed, so a folder that others can
write is refused (trust.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dit_serve.models.checkpoints.files import reason
from dit_serve.models.checkpoints.trust import create, make_folder, read_own, refuse_foreign, written_whole
from dit_serve.models.errors import ChangedMeanwhile, CheckpointError
from dit_serve.models.options import expanded

SUMS = "sums"
_CHUNK = 4 * 2**20
_MOST_ENTRY_BYTES = 4 << 20  # of a sum: some hundred bytes a file


def cache_folder() -> Path:
    """Return where the cache is; it need not exist yet.

    Raises:
        CheckpointError: it is a link, somebody else's or open to everybody, so that what is in it cannot be believed.
    """
    chosen = os.environ.get("DIT_CACHE")
    folder = Path(expanded(chosen)) if chosen else home_cache_folder() or _temporary_folder()
    refuse_foreign(folder)
    return folder


def cache_room(name: str) -> Path:
    """Return the folder of this name in the cache; it need not exist yet.

    Raises:
        CheckpointError: it, or the cache, is a link, somebody else's or open to everybody.
    """
    folder = cache_folder() / name
    refuse_foreign(folder)
    return folder


def home_cache_folder() -> Path | None:
    """Return where the cache is by default; None where the user has no home, or one that cannot be written.

    A container with a user that its image does not know has neither an entry in passwd nor, often, a HOME.
    """
    try:
        folder = Path.home() / ".cache" / "dit-serve"
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
    except (RuntimeError, OSError):  # no home; one that may not even be looked into
        return None
    is_usable = nearest == folder or (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK))
    return folder if is_usable else None


def _temporary_folder() -> Path:
    """The user's own folder beside temporary files, made now so that nobody else can: what is in it is trusted."""
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError:  # nothing here can be written, so nothing is kept
        parent = Path("/tmp")
    if not hasattr(os, "getuid"):  # on Windows each user has a folder for temporary files
        return parent / "dit-serve"
    folder = parent / f"dit-serve-{os.getuid()}"
    with contextlib.suppress(OSError):  # it exists, or cannot be made
        folder.mkdir(mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise CheckpointError(
                f"{folder}: would be the cache, but is open to others: set DIT_CACHE to a folder of your own"
            )
    return folder


def known_sums() -> Iterator[tuple[tuple[Path, ...], str]]:
    """Yield the files whose sum is kept and that have not changed since, and the sum; those last kept first."""
    folder = cache_room(SUMS)
    try:
        entries = sorted(folder.glob("*.json"), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    except OSError:  # one was removed meanwhile, or the folder cannot be read
        return
    for entry in entries:
        known = _read_entry(entry)
        files, sha256 = known.get("files"), known.get("sha256")
        if isinstance(files, list) and isinstance(sha256, str):
            with contextlib.suppress(CheckpointError, LookupError, TypeError):
                paths = tuple(Path(file[0]) for file in files)
                if paths and _stamp(paths) == files:
                    yield paths, sha256


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
        raise ChangedMeanwhile(f"{paths[0]}: was changed while it was read: wait until it is written, then try again")
    _write_entry(_entry(stamp), {"files": stamp, "sha256": digest.hexdigest()})
    return digest.hexdigest()


def _entry(stamp: list[list[str | int]]) -> Path:
    """Where the sum of these files is kept."""
    return cache_room(SUMS) / f"{hashlib.sha256(repr([s[0] for s in stamp]).encode()).hexdigest()}.json"


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
        value = json.loads(read_own(entry, _MOST_ENTRY_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}  # never written, or not by us: computed anew
    return value if isinstance(value, dict) else {}


def _write_entry(entry: Path, value: dict[str, object]) -> None:
    """Keep a sum, whole or not at all; a cache that cannot be written only means that it is computed again."""
    with contextlib.suppress(OSError):
        make_folder(entry.parent)
        with written_whole(entry) as partial, open(create(partial), "w", encoding="utf-8") as file:
            json.dump(value, file)
