"""What conditions samples' steps, a DiT's modulations, computed before they are needed and kept under a byte budget.

Modulations depend on (t, y) alone and the schedule is known at the start, so many steps are one matrix product instead
of one a step, and the null class's rows serve every job of that schedule. A card computes a job's whole table when it
begins. A processor computes a tile of steps when the first of them is reached: so a job that is given up has cost
nothing, and a job takes little room at a time. What does not fit the budget is computed in the step that needs it.
Either way rows are computed in tiles of one fixed size: a library may choose its arithmetic by the number of rows, and
the result must not depend on where it was computed. Knows the DiT's `modulations` and nothing of samples or requests.

All rows live in one `pool`, so a step names its rows by number and one gather fetches them, also from within a captured
graph: no step waits for the host. On a card the pool is taken at once and never moves. On a processor its memory is the
system's until rows are written to it, and goes back there when the work has ended (`rest`).
"""

from __future__ import annotations

import math
import mmap
from collections import OrderedDict
from collections.abc import Sequence

import torch

from dit_serve.models.device import plain_arithmetic
from dit_serve.models.dit import DiT
from dit_serve.models.sampling.card import upload

TILE, CARD_TILE = 16, 64  # rows of every product; on a card the weights' way from memory is what it costs
CARD_SHARE, ELSEWHERE_BYTES = 0.02, 128 << 20  # of memory, for tables where no budget is given
REST_BYTES = 8 << 20  # of tables are kept when the work has ended: 250 steps of a small model's class and of no class
Key = tuple[int, tuple[int, ...]]  # of a table: the class, the timesteps of its rows
EMPTY_ROW = 0  # of the pool, zeros: modulates what fills up a batch


def _untouched(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an empty tensor; on a processor of pages that the system has yet to give: an allocator's may be in use."""
    if device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}  # not on Windows
    try:
        pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, **private)
    except OSError as error:
        raise MemoryError(f"no room for modulations: {error.strerror}") from error
    return torch.frombuffer(pages, dtype=dtype).view(tuple(shape))


def default_budget(device: torch.device) -> int:
    """Return the bytes for tables on a device: a small share of a card's own memory, one size elsewhere."""
    if device.type != "cuda":
        return ELSEWHERE_BYTES
    return int(CARD_SHARE * torch.cuda.get_device_properties(device).total_memory)


class Conditioning:
    """Modulations of one model by (class, timesteps), the least recently used given up first.

    Args:
        model: whose modulations.
        budget_bytes: for the tables, taken at once on a card; by default as `default_budget` has it.
        most_sequences: the most that one step has.
        is_ahead: whether whole tables are computed when samples begin, as a card does; else tile by tile in the steps.

    Attributes:
        pool: (1 + most_sequences + rows that fit the budget, V, D): the empty row, those that the step under way
            had to compute, those of the tables.
        hits: rows that steps found in a table.
        misses: rows that steps had to compute.
    """

    def __init__(self, model: DiT, budget_bytes: int | None, most_sequences: int, *, is_ahead: bool) -> None:
        self._model = model
        config, weight = model.config, model.patch_embed.weight
        self._device = weight.device
        self._tile = CARD_TILE if weight.is_cuda else TILE
        self._row_bytes = config.modulation_vectors * config.hidden_size * weight.element_size()
        self._is_ahead = is_ahead
        self._tables: OrderedDict[Key, list[int]] = OrderedDict()
        budget_bytes = default_budget(self._device) if budget_bytes is None else budget_bytes
        self._first, kept = 1 + most_sequences, budget_bytes // self._row_bytes
        shape = (self._first + kept, config.modulation_vectors, config.hidden_size)
        self.pool = _untouched(shape, weight.dtype, self._device)
        self.pool[: self._first] = 0
        self._free = list(range(len(self.pool) - 1, self._first - 1, -1))  # the lowest are taken first
        self._written = self._first  # rows below it have been
        self.hits, self.misses = 0, 0

    @property
    def held_bytes(self) -> int:
        """What the tables take."""
        return self._row_bytes * sum(map(len, self._tables.values()))

    @torch.inference_mode()
    def prepare(self, y: int, timesteps: tuple[int, ...]) -> None:
        """Compute and keep the table of class y over these timesteps, if that is done ahead and it fits the budget."""
        if self._is_ahead and self._table((y, timesteps)) is None and len(timesteps) <= self._capacity:
            self._keep((y, timesteps))

    @torch.inference_mode()
    def rest(self) -> None:
        """Give up all tables but those used last that `REST_BYTES` hold, and the memory of the others.

        To be called when no sample is under way; one that is finds other memory with the same numbers in it. On a card
        nothing changes.
        """
        if self._device.type != "cpu" or self._row_bytes * (self._written - self._first) <= REST_BYTES:
            return
        while self.held_bytes > REST_BYTES:
            self._tables.popitem(last=False)
        kept = [row for table in self._tables.values() for row in table]
        following = iter(range(self._first, self._first + len(kept)))
        pool = _untouched(self.pool.shape, self.pool.dtype, self._device)
        pool[: self._first] = 0
        pool[self._first : self._first + len(kept)] = self.pool[kept]
        self.pool = pool
        self._tables = OrderedDict((key, [next(following) for _ in table]) for key, table in self._tables.items())
        self._written = self._first + len(kept)
        self._free = list(range(len(pool) - 1, self._written - 1, -1))

    @torch.inference_mode()
    def rows(self, wanted: Sequence[tuple[int, tuple[int, ...], int]]) -> list[int]:
        """Return the pool's rows for S sequences, each given as (class, timesteps, index of its step).

        They hold until the next call: what no table has is computed into the same few rows each time. A table that is
        asked for is the last to be given up, so what a newcomer displaces first is of samples that have ended.
        """
        keys = [(y, self._part(timesteps, i)) for y, timesteps, i in wanted]
        tables = {key: self._table(key) for key in keys}
        lacking = sum(tables[key] is None for key in keys)
        self.hits += len(wanted) - lacking
        self.misses += lacking
        if lacking and not self._is_ahead:
            self._keep_missing(tables)
        missing = [each for each, key in zip(wanted, keys, strict=True) if tables[key] is None]
        computed = range(1, 1 + len(missing))
        if missing:
            self._write(computed, self.compute([steps[i] for _, steps, i in missing], [y for y, _, _ in missing]))
        following, rows = iter(computed), []
        for (_, _, i), key in zip(wanted, keys, strict=True):
            table = tables[key]
            rows.append(next(following) if table is None else table[i if self._is_ahead else i % self._tile])
        return rows

    @torch.inference_mode()
    def compute(self, timesteps: Sequence[int], classes: Sequence[int]) -> torch.Tensor:
        """Return the modulations (S, V, D) of S pairs, in tiles of a fixed number of rows."""
        filling = [0] * (-len(timesteps) % self._tile)
        numbers = [[*timesteps, *filling], [*classes, *filling]]
        pairs = upload(torch.tensor(numbers, dtype=torch.int64, device="cpu"), self._device)
        with plain_arithmetic(self._device):
            tiles = [self._model.modulations(t, y) for t, y in pairs.view(2, -1, self._tile).transpose(0, 1)]
        return torch.cat(tiles)[: len(timesteps)]

    @property
    def _capacity(self) -> int:
        """How many rows the tables may have."""
        return len(self.pool) - self._first

    def _part(self, timesteps: tuple[int, ...], i: int) -> tuple[int, ...]:
        """Return the timesteps of the table that has step i: all, or those of one tile."""
        return timesteps if self._is_ahead else timesteps[i - i % self._tile :][: self._tile]

    def _table(self, key: Key) -> list[int] | None:
        """Return the pool's rows of a table, used just now; None if it is not kept."""
        table = self._tables.get(key)
        if table is not None:
            self._tables.move_to_end(key)
        return table

    def _keep_missing(self, tables: dict[Key, list[int] | None]) -> None:
        """Compute and keep those that are not there, as long as all these fit: none of them displaces another."""
        used = sum(len(table) for table in tables.values() if table is not None)
        for key in [key for key, table in tables.items() if table is None]:
            used += len(key[1])
            if used <= self._capacity:
                tables[key] = self._keep(key)

    def _keep(self, key: Key) -> list[int]:
        """Return the rows of a new table, which fits; the least recently used ones make room."""
        y, timesteps = key
        count = len(timesteps)
        while len(self._free) < count:
            _, dropped = self._tables.popitem(last=False)
            self._free += dropped
        rows = self._free[: -count - 1 : -1]
        for begin in range(0, count, self._tile):  # tile by tile: a long table is never there twice
            some = timesteps[begin : begin + self._tile]
            self._write(rows[begin : begin + self._tile], self.compute(some, [y] * len(some)))
        del self._free[-count:]  # only now: a product that fails takes no row away
        self._tables[key] = rows
        self._written = max(self._written, max(rows) + 1)
        return rows

    def _write(self, rows: Sequence[int], modulations: torch.Tensor) -> None:
        places = torch.tensor(rows, dtype=torch.int64, device="cpu")
        self.pool.index_copy_(0, upload(places, self._device), modulations)
