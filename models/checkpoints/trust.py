"""What of a cache's folders and files may be believed, and how new ones are made so that they may be.

What lies in the cache is taken for what was put there, so nobody else may be able to put it there: a link, another
user's file or one that everybody can write is refused before it is opened. A group's members are trusted, for folders
that are mounted into a container belong to a group. Root is trusted, for it can do everything.

Knows no cache and no format. References: sudo's and OpenSSH's checks of the files that they read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from dit_serve.models.errors import CheckpointError

_FOLDER_MODE, FILE_MODE = 0o755, 0o644  # whatever the umask leaves to others
_READ_ONLY_OWN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def fault_of(path: Path) -> str:
    """Return why what is at a path may be somebody else's, "" where nothing is there, or nothing is wrong with it."""
    try:
        return _fault(path.lstat())
    except (OSError, ValueError):  # none there, or it may not be looked at: whoever opens it is told
        return ""


def refuse_foreign(path: Path) -> None:
    """Refuse a folder or file of the cache that somebody else can have put there.

    Raises:
        CheckpointError: it is a link, another user's, or open to everybody.
    """
    if fault := fault_of(path):
        raise CheckpointError(
            f"{path}: {fault}, and what is in the cache is believed: remove it, or set DIT_CACHE to a folder of yours"
        )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, that others cannot write.

    Raises:
        OSError: it cannot be made.
        CheckpointError: somebody else's is in its place.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    refuse_foreign(folder)


def read_own(path: Path, most_bytes: int) -> bytes:
    """Return what is in a small file of the cache.

    Raises:
        OSError: there is none, it is larger, or somebody else can have put it there.
    """
    descriptor = os.open(path, _READ_ONLY_OWN)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > most_bytes or _fault(found):
            raise PermissionError(f"{path}: not a file of ours")
        return file.read(most_bytes)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside a path that nobody can guess, for a file that takes the path's place when it is written.

    Raises:
        OSError: it cannot be put there.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def create(path: Path) -> int:
    """Return the descriptor of a new file that others cannot write; a link is not followed.

    Raises:
        OSError: there is one already, or it cannot be made.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), FILE_MODE)


def _fault(found: os.stat_result) -> str:
    is_file, is_folder = stat.S_ISREG(found.st_mode), stat.S_ISDIR(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not is_file and not is_folder:
        return "is neither a file nor a folder"
    if is_file and found.st_nlink > 1:
        return "has a second name, a hard link"
    if not hasattr(os, "geteuid"):  # on Windows whoever owns a file is not said here
        return ""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user ({found.st_uid})"
    is_shared = is_folder and found.st_mode & stat.S_ISVTX  # as /tmp: there everybody has what is theirs alone
    return "can be written by everybody" if found.st_mode & stat.S_IWOTH and not is_shared else ""
