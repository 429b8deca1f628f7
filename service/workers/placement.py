"""Which workers run where, when the operator leaves it open: decided by the HTTP process, without a library of tensors.

On a machine without an accelerator a small model gains nothing from a second thread, as its steps are too short
to be shared out: there each core gets a worker of its own, as long as there is memory for it. Everything else gets
one worker on the best device present. The number of threads changes no byte of an image.

What there is, is read off the system: device files for NVIDIA's and AMD's cards, the platform for Apple's. A sign of
a card is enough, for a worker finds out by itself whether it can be used. Knows no process and no model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dit_serve.models.options import split_name

SMALL_BYTES = 256 << 20  # of all models together; DiT-S/2 has 132 MB in float32, DiT-B/2 520 MB
WORKER_BYTES = 1 << 30  # half of it libraries, the rest room for what a small model computes with
MAX_DEFAULT_WORKERS = 8
ACCELERATOR_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
DEMOS = Path(__file__).parents[2] / "models" / "demo"
WEIGHTS = (".safetensors", ".bin", ".pt")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the workers run.

    Args:
        devices: one worker each; None is the best device present.
        threads: of each worker on a processor, 0 to leave it to the library.
        keeps_standby: whether a process is started ahead, to replace a dead worker at once.
    """

    devices: tuple[str | None, ...] = (None,)
    threads: int = 0
    keeps_standby: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """What a placement depends on.

    Args:
        cores: that this process may use.
        free_bytes: of memory.
        has_accelerator: whether there is a sign of one.
    """

    cores: int
    free_bytes: int
    has_accelerator: bool


def place(devices: Sequence[str], models: Sequence[str], machine: Machine, *, keeps_standby: bool = True) -> Placement:
    """Where the workers run: as the operator says, else as suits the machine and the models.

    Args:
        devices: the operator's choice, one worker each; none to leave it open.
        models: the checkpoints to serve, each as it is or as name=path.
        machine: where.
        keeps_standby: as in `Placement`.
    """
    chosen: tuple[str | None, ...] = tuple(devices)
    if not chosen:
        workers = min(machine.cores, MAX_DEFAULT_WORKERS, machine.free_bytes // WORKER_BYTES)
        is_spread = not machine.has_accelerator and workers > 1 and are_small(models)
        chosen = ("cpu",) * workers if is_spread else (None,)
    # several on one machine share its cores: more threads than cores wait for each other at every step
    threads = max(1, machine.cores // len(chosen)) if len(chosen) > 1 else 0
    return Placement(chosen, threads, keeps_standby)


def this_machine() -> Machine:
    """The machine that this process runs on, as far as it may use it."""
    has_card = sys.platform == "darwin" or any(os.path.exists(path) for path in ACCELERATOR_FILES)
    return Machine(_cores(), _free_bytes(), has_card)


def are_small(models: Sequence[str]) -> bool:
    """Whether all these checkpoints lie here and are small together; what has yet to be downloaded is not."""
    sizes = [_weights_bytes(path) for _, path in map(split_name, models)]
    return all(size is not None for size in sizes) and sum(size or 0 for size in sizes) <= SMALL_BYTES


def _weights_bytes(model: str) -> int | None:
    """None for what is not here, or cannot be looked at: the worker that loads it says why."""
    try:
        path = DEMOS / model if (DEMOS / model).is_dir() else Path(model)
        if path.is_file():
            return path.stat().st_size
        if not path.is_dir():
            return None
        return sum(file.stat().st_size for file in path.rglob("*") if file.suffix in WEIGHTS)
    except OSError:
        return None


def _cores() -> int:
    """Cores, less those that this process is kept from; a container's share of time counts as whole cores."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    share = int(quota) // int(period) if quota.isdigit() and period.strip().isdigit() else allowed
    return max(1, min(allowed, share))


def _free_bytes() -> int:
    """Memory that can be had without swapping, or what a container may still take if that is less."""
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) << 10 if "MemAvailable" in lines else _physical_bytes() // 2
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
