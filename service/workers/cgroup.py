"""How much memory and how many cores this process may use: what the machine has, or less where a control group says so.

Containers, systemd and batch systems bound processes by control groups of version 1 or 2. They are nested, and each one
counts, from the process's own up to the topmost that can be seen. A container sees its own as the root, or else, by
version 1 without a namespace, under the path that it has on the host; what is mounted tells which. Linux alone knows
them; elsewhere there is the machine.

References: cgroups(7), the kernel's admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Memory:
    """What may be used.

    Args:
        limit_bytes: what all processes here may have together.
        free_bytes: what of that can still be had without swapping.
        is_bounded: whether the limit is a control group's, and not all that the machine has.
    """

    limit_bytes: int
    free_bytes: int
    is_bounded: bool = False


def read_memory(root: Path = ROOT) -> Memory:
    """The memory of this process and of those that it starts."""
    lines = dict(line.split(":", 1) for line in _read(root / "proc/meminfo").splitlines() if ":" in line)
    physical = _kibibytes(lines.get("MemTotal", "")) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, free = physical, _kibibytes(lines.get("MemAvailable", "")) or physical // 2
    for group in _groups("memory", root):
        for bound in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            if (bytes_ := _number(group / bound)) is not None:
                limit, free = min(limit, bytes_), min(free, bytes_ - _used_bytes(group))
    return Memory(limit, max(0, free), limit < physical)


def read_cores(allowed: int, root: Path = ROOT) -> int:
    """Whole cores, at least one, of those that this process is allowed: a share of time counts as so many."""
    for group in _groups("cpu", root):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.strip().isdigit() and period.strip().isdigit():
            allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)


def _used_bytes(group: Path) -> int:
    """What a group has taken, less the files that it would give up at once: nobody has read them lately."""
    used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
    stat = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines() if " " in line)
    return used - int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, its own first, of both versions."""
    own = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))  # of version 2: ""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        kind, *_, options = system.split() or [""]
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            mounted, point = mount.split()[3:5]
            path = own.get(controller if kind == "cgroup" else "", "/")
            yield from _upwards(root / point.lstrip("/"), _below(path, mounted))


def _below(path: str, mounted: str) -> str:
    """A group's path below the one that is mounted; "" where it cannot be seen."""
    top = mounted.rstrip("/") + "/"
    return path.removeprefix(top) if path.startswith(top) and ".." not in path.split("/") else ""


def _upwards(top: Path, below: str) -> Iterator[Path]:
    folder = top / below
    while folder != top:
        yield folder
        folder = folder.parent
    yield top


def _kibibytes(text: str) -> int:
    """Bytes of meminfo's "123 kB", 0 where there is none."""
    return int(text.split()[0]) << 10 if text.split() else 0


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
