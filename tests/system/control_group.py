"""A control group of Linux with a limit of memory, as a container has one, in either version of the interface.

    with control_group(4 << 30) as group:
        command = group.entered_by(["dit", "serve"])

A container's own limit would be the same one; it is made without a container, so that the processes in it are those of
this checkout. Version 1: Documentation/admin-guide/cgroup-v1/memory.rst of the kernel; 2: cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
LEAVING_SECONDS = 10.0  # that processes which were killed take at most to be gone
PACE_SECONDS = 0.1


class NoControlGroup(Exception):
    """This machine lets us make none; with the reason."""


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One group.

    Args:
        folder: of its files.
        is_second: whether they are those of version 2.
    """

    folder: Path
    is_second: bool

    def entered_by(self, command: Sequence[str]) -> list[str]:
        """The command, which with all that it starts is in the group from its first moment on."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    @property
    def anonymous_bytes(self) -> int:
        """Memory that cannot be had back: what was read from files is left out."""
        return self._figure("memory.stat", "anon" if self.is_second else "rss")

    @property
    def kills(self) -> int:
        """Processes that the kernel ended because the limit was reached."""
        return self._figure("memory.events" if self.is_second else "memory.oom_control", "oom_kill")

    def _figure(self, file: str, name: str) -> int:
        lines = (self.folder / file).read_text().splitlines()
        return int(dict(line.split(" ", 1) for line in lines)[name])


@contextlib.contextmanager
def control_group(limit_bytes: int) -> Iterator[ControlGroup]:
    """A group for the length of a with-statement, with a limit of memory and no swap beyond it.

    Raises:
        NoControlGroup: see there.
    """
    is_second = (ROOT / "cgroup.controllers").exists()
    folder = (ROOT if is_second else ROOT / "memory") / f"dit-test-{os.getpid()}"
    try:
        if is_second:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
    except OSError as error:
        raise NoControlGroup(f"no control group of memory can be made here: {error}") from error
    try:
        try:
            (folder / ("memory.max" if is_second else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        except OSError as error:
            raise NoControlGroup(f"a control group's memory cannot be limited here: {error}") from error
        yield ControlGroup(folder, is_second)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a group once its processes are gone."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PACE_SECONDS)
