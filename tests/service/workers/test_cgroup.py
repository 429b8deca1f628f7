"""Limits are found in every form in which the system has them: folders as it shows them, in a folder of the test's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dit_serve.service.workers.cgroup import Memory, read_cores, read_memory

GIB = 1 << 30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"
V1 = "31 23 0:29 {mounted} /sys/fs/cgroup/{kind} rw,relatime shared:5 - cgroup cgroup rw,{kind}\n"
V2 = "31 23 0:29 {mounted} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
NO_LIMIT = str((1 << 63) - 4096)  # as version 1 has it


def system(root: Path, files: Mapping[str, str], groups: str, mounts: str) -> Path:
    """A root folder with these files of control groups; the process is in `groups`."""
    process = {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    control = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in (process | control).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_group_there_is_the_machine(tmp_path: Path) -> None:
    root = system(tmp_path, {}, "", "")
    assert read_memory(root) == Memory(16 * GIB, 8 * GIB)
    assert read_cores(6, root) == 6


def test_version_2_in_a_container_of_its_own_namespace(tmp_path: Path) -> None:
    files = {
        "memory.max": f"{4 * GIB}\n",
        "memory.high": "max\n",
        "memory.current": f"{2 * GIB}\n",
        "memory.stat": f"anon 5\nfile 7\ninactive_file {GIB}\nactive_file 3\n",
        "cpu.max": "250000 100000\n",
    }
    root = system(tmp_path, files, "0::/\n", V2.format(mounted="/"))
    assert read_memory(root) == Memory(4 * GIB, 3 * GIB, is_bounded=True)
    assert read_cores(6, root) == 2


@pytest.mark.parametrize("tightest", ["", "a.slice/", "a.slice/dit.service/", "a.slice/dit.service/sub/"])
def test_of_nested_groups_of_version_2_the_tightest_counts(tmp_path: Path, tightest: str) -> None:
    folders = ["a.slice/", "a.slice/dit.service/", "a.slice/dit.service/sub/"]
    files = {f"{folder}memory.max": "max\n" for folder in folders}
    files |= {f"{folder}cpu.max": "max 100000\n" for folder in folders}
    files |= {f"{tightest}memory.max": f"{2 * GIB}\n", f"{tightest}memory.current": "0\n"}
    files |= {f"{tightest}cpu.max": "100000 100000\n"}
    root = system(tmp_path, files, "0::/a.slice/dit.service/sub\n", V2.format(mounted="/"))
    assert read_memory(root) == Memory(2 * GIB, 2 * GIB, is_bounded=True)
    assert read_cores(6, root) == 1


def test_a_neighbours_group_does_not_count(tmp_path: Path) -> None:
    root = system(tmp_path, {"other/memory.max": "4096\n"}, "0::/own\n", V2.format(mounted="/"))
    assert not read_memory(root).is_bounded


def test_where_memory_is_throttled_is_a_limit_too(tmp_path: Path) -> None:
    files = {"memory.max": f"{4 * GIB}\n", "memory.high": f"{3 * GIB}\n", "memory.current": "0\n"}
    assert read_memory(system(tmp_path, files, "0::/\n", V2.format(mounted="/"))).limit_bytes == 3 * GIB


@pytest.mark.parametrize(
    ("path", "mounted", "folder"),
    [
        ("/docker/0123", "/docker/0123", ""),  # a container without a namespace of its own
        ("/docker/0123/sub", "/docker/0123", "sub/"),
        ("/docker/0123", "/", "docker/0123/"),  # on the host
        ("/docker/0123/sub", "/", "docker/"),  # a limit of what lies above
        ("/", "/", ""),
        ("/../other", "/", ""),  # what cannot be seen from here
    ],
)
def test_version_1_wherever_its_folders_are_mounted(tmp_path: Path, path: str, mounted: str, folder: str) -> None:
    files = {
        f"memory/{folder}memory.limit_in_bytes": f"{4 * GIB}\n",
        f"memory/{folder}memory.usage_in_bytes": f"{GIB}\n",
        f"memory/{folder}memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
        f"cpu/{folder}cpu.cfs_quota_us": "300000\n",
        f"cpu/{folder}cpu.cfs_period_us": "100000\n",
    }
    mounts = "".join(V1.format(mounted=mounted, kind=kind) for kind in ("memory", "cpu"))
    root = system(tmp_path, files, f"4:memory:{path}\n1:cpu,cpuacct:{path}\n0::/\n", mounts)
    assert read_memory(root) == Memory(4 * GIB, 4 * GIB - GIB // 2, is_bounded=True)
    assert read_cores(6, root) == 3


def test_version_1_says_in_a_large_number_that_there_is_no_limit(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": NO_LIMIT, "cpu/cpu.cfs_quota_us": "-1\n"}
    mounts = "".join(V1.format(mounted="/", kind=kind) for kind in ("memory", "cpu"))
    root = system(tmp_path, files, "4:memory:/\n1:cpu:/\n", mounts)
    assert read_memory(root) == Memory(16 * GIB, 8 * GIB)
    assert read_cores(6, root) == 6


def test_a_group_that_has_taken_more_than_it_may_leaves_nothing(tmp_path: Path) -> None:
    files = {"memory.max": "4096\n", "memory.current": "8192\n", "cpu.max": "50000 100000\n"}
    root = system(tmp_path, files, "0::/\n", V2.format(mounted="/"))
    assert read_memory(root).free_bytes == 0
    assert read_cores(6, root) == 1
