"""Which workers run where, and whether there is memory for them: decided by the HTTP process, without a library of
tensors.

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
from dit_serve.service.http_limits import DEFAULT_CONNECTIONS
from dit_serve.service.settings import Settings
from dit_serve.service.workers.budget import DECODER_BYTES, ROW_BYTES, SMALL_ROW_BYTES, Budget, Demand, reckon
from dit_serve.service.workers.cgroup import Memory, read_cores, read_memory

SMALL_BYTES = 256 << 20  # of all models together; DiT-S/2 has 132 MB in float32, DiT-B/2 520 MB
MAX_DEFAULT_WORKERS = 8
ACCELERATOR_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
DEMOS = Path(__file__).parents[2] / "models" / "demo"
WEIGHTS = (".safetensors", ".bin", ".pt")
SMALL_PIXELS, PIXELS = 128, 256  # side of an image, which the HTTP process cannot know before a worker does


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
        memory: that it may use.
        has_accelerator: whether there is a sign of one.
    """

    cores: int
    memory: Memory
    has_accelerator: bool


def place(settings: Settings, machine: Machine) -> tuple[Placement, Budget]:
    """Where the workers run, and what memory they take with all the rest.

    What the operator says is taken as it is, whether it fits or not; what is left open is as suits the machine and the
    models: of as many workers as there is memory for.
    """
    devices, demand = _choose(settings, machine)
    # several on one machine share its cores: more threads than cores wait for each other at every step
    threads = max(1, machine.cores // len(devices)) if len(devices) > 1 else 0
    return Placement(devices, threads, settings.standby), reckon(demand, len(devices), machine.memory)


def _choose(settings: Settings, machine: Machine) -> tuple[tuple[str | None, ...], Demand]:
    demand = demand_of(settings, machine)
    if settings.devices:
        return settings.devices, demand
    if machine.has_accelerator or not are_small(settings.models):
        return (None,), demand
    most = min(machine.cores, MAX_DEFAULT_WORKERS)
    workers = next((n for n in range(most, 1, -1) if reckon(demand, n, machine.memory).fits), 1)
    return ("cpu",) * workers if workers > 1 else (None,), demand


def demand_of(settings: Settings, machine: Machine) -> Demand:
    """What the settings ask for; models that have yet to be downloaded count nothing."""
    on_card = settings.devices[0] != "cpu" if settings.devices else machine.has_accelerator
    is_small, limits = are_small(settings.models), settings.limits
    places, side = settings.max_batch_sequences, SMALL_PIXELS if is_small else PIXELS
    return Demand(
        models_bytes=sum(filter(None, _sizes(settings.models))),
        models=len(settings.models),
        batch_bytes=places * SMALL_ROW_BYTES if is_small else places * ROW_BYTES + DECODER_BYTES,
        places=settings.max_queue_sequences,
        place_bytes=3 * side**2,
        connections=limits.max_connections or DEFAULT_CONNECTIONS,
        request_bytes=limits.max_header_bytes + limits.max_body_bytes,
        keeps_standby=settings.standby,
        model_cache_bytes=settings.options.modulation_cache_bytes,
        on_card=on_card,
    )


def this_machine() -> Machine:
    """The machine that this process runs on, as far as it may use it."""
    has_card = sys.platform == "darwin" or any(os.path.exists(path) for path in ACCELERATOR_FILES)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(read_cores(allowed), read_memory(), has_card)


def are_small(models: Sequence[str]) -> bool:
    """Whether all these checkpoints lie here and are small together; what has yet to be downloaded is not."""
    sizes = _sizes(models)
    return None not in sizes and sum(filter(None, sizes)) <= SMALL_BYTES


def _sizes(models: Sequence[str]) -> list[int | None]:
    return [_weights_bytes(path) for _, path in map(split_name, models)]


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
