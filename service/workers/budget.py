"""What the service takes of the memory that it may use, part by part, at most.

One sum over all processes: whoever bounds a part (the queue, the batch, the modulations kept) finds it here with the
others, and what is left over decides how much of it a worker may keep. Memory of cards is not in it; the host's part
of their drivers is not known. Pure reckoning: knows no process, no file and no setting.

The figures were measured in November 2026 on Linux with torch 2.13 for processors, with digits-64 and digits-128
loaded and by /proc/PID/smaps_rollup; each is rounded up.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from dit_serve.service.workers.cgroup import Memory

MIB = 1 << 20
HTTP_BYTES = 64 * MIB  # 55 MiB with nobody there
PLACE_BYTES = 64 << 10  # an accepted image, with a stream that nobody reads: 40 to 57 KiB
CONNECTION_BYTES = 8 << 10  # one that is idle: 6 KiB
SENT_FACTOR = 2  # of what it has sent of a request: 44 KiB take 82
KERNEL_SHARE, MAX_KERNEL_BYTES = 1 / 16, 256 * MIB  # of the limit: page tables, sockets' buffers, files in use
LIBRARIES_BYTES = 208 * MIB  # file pages of workers and the process that stands by, the same for all: 198 MiB
STANDBY_BYTES = 304 * MIB  # of its own, 296 MiB
WORKER_BYTES = 336 * MIB  # of its own without models, 320 to 335 MiB
SMALL_ROW_BYTES = 5 * MIB  # a place in the batch, decoding, and the code that the library makes for it: 80 MiB for 16
ROW_BYTES, DECODER_BYTES = 16 * MIB, 400 * MIB  # of DiT-XL/2 at 256 pixels: 244 MiB for 16, 398 for an image
CACHE_BYTES = 128 * MIB  # modulations of a worker: 11,000 rows of digits, ten classes and none at 1,000 steps
LEAST_CACHE_BYTES = 16 * MIB  # what two models keep when they rest


@dataclass(frozen=True, slots=True)
class Demand:
    """What the settings ask for.

    Args:
        models_bytes: of the weights of all models together, as far as they are known.
        models: how many there are.
        batch_bytes: what a worker computes its largest batch in.
        places: of the queue.
        place_bytes: what the HTTP process has for one, beside `PLACE_BYTES`.
        connections: most of them.
        request_bytes: most that one of them has sent and is still there.
        keeps_standby: whether a process stands by.
        model_cache_bytes: of each model's modulations, where the operator has said it.
        on_card: whether models, batches and modulations are in a card's memory.
    """

    models_bytes: int
    models: int
    batch_bytes: int
    places: int
    place_bytes: int
    connections: int
    request_bytes: int
    keeps_standby: bool = True
    model_cache_bytes: int | None = None
    on_card: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """Who may take how many bytes.

    Args:
        memory: what there is.
        workers: how many processes with models.
        kernel_bytes: what the system takes for all of them.
        http_bytes: the HTTP process with its queue full, and all connections in the middle of a request.
        libraries_bytes: files that workers share.
        standby_bytes: the process that stands by.
        worker_bytes: each worker, besides the rest.
        models_bytes: each worker's models.
        batch_bytes: each worker's largest batch.
        cache_bytes: each worker's modulations, of all its models.
        model_cache_bytes: of one model; None leaves it to the device.
    """

    memory: Memory
    workers: int
    kernel_bytes: int
    http_bytes: int
    libraries_bytes: int
    standby_bytes: int
    worker_bytes: int
    models_bytes: int
    batch_bytes: int
    cache_bytes: int
    model_cache_bytes: int | None

    @property
    def each_worker_bytes(self) -> int:
        """A worker with all that is its own."""
        return self.worker_bytes + self.models_bytes + self.batch_bytes + self.cache_bytes

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        shared = self.kernel_bytes + self.http_bytes + self.libraries_bytes + self.standby_bytes
        return shared + self.workers * self.each_worker_bytes

    @property
    def fits(self) -> bool:
        """Whether there is memory for all of it."""
        return self.total_bytes <= self.memory.free_bytes

    @property
    def whose_limit(self) -> str:
        """For people, who bounds the memory."""
        return "container" if self.memory.is_bounded else "machine"

    def sentence(self) -> str:
        """For people, everything in words; what takes nothing is left out."""
        own = {"models": self.models_bytes, "batch": self.batch_bytes, "modulations": self.cache_bytes}
        shared = {
            "libraries": self.libraries_bytes,
            "HTTP, queue and connections": self.http_bytes,
            "standby": self.standby_bytes,
            "kernel": self.kernel_bytes,
        }
        workers = f"{self.workers} worker{'s' * (self.workers > 1)} of {_gigabytes(self.each_worker_bytes)}"
        workers += f" ({named})" if (named := _listed(own)) else ""
        free, limit = map(_gigabytes, (self.memory.free_bytes, self.memory.limit_bytes))
        there = f"{free} of the {self.whose_limit}'s {limit} free"
        verdict = "" if self.fits else "too little: "
        return f"{verdict}{there}, {_gigabytes(self.total_bytes)} taken at most: {workers}, {_listed(shared)}"

    def fields(self) -> dict[str, object]:
        """For a line of the log."""
        parts = asdict(self)
        del parts["memory"], parts["model_cache_bytes"]
        memory = self.memory
        there = {"limit_bytes": memory.limit_bytes, "limit_of": self.whose_limit, "free_bytes": memory.free_bytes}
        return there | parts | {"total_bytes": self.total_bytes}


def reckon(demand: Demand, workers: int, memory: Memory) -> Budget:
    """The budget of so many workers: modulations get what is left over, within what is of use."""
    on_host = not demand.on_card
    budget = Budget(
        memory=memory,
        workers=workers,
        kernel_bytes=min(int(KERNEL_SHARE * memory.limit_bytes), MAX_KERNEL_BYTES),
        http_bytes=HTTP_BYTES
        + demand.places * (PLACE_BYTES + demand.place_bytes)
        + demand.connections * (CONNECTION_BYTES + SENT_FACTOR * demand.request_bytes),
        libraries_bytes=LIBRARIES_BYTES,
        standby_bytes=STANDBY_BYTES * demand.keeps_standby,
        worker_bytes=WORKER_BYTES,
        models_bytes=demand.models_bytes * on_host,
        batch_bytes=demand.batch_bytes * on_host,
        cache_bytes=0,
        model_cache_bytes=demand.model_cache_bytes,
    )
    if demand.on_card:
        return budget
    left = (memory.free_bytes - budget.total_bytes) // workers
    each = max(LEAST_CACHE_BYTES, min(CACHE_BYTES, left)) // demand.models
    each = each if demand.model_cache_bytes is None else demand.model_cache_bytes
    return replace(budget, cache_bytes=demand.models * each, model_cache_bytes=each)


def _listed(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {_gigabytes(bytes_)}" for name, bytes_ in parts.items() if bytes_)


def _gigabytes(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.2f} GB"
