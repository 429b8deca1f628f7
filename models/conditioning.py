"""The adaLN modulations of a job's whole schedule, computed when it begins and kept under a byte budget.

Modulations depend on (t, y) alone and the schedule is known at the start, so all steps of a job are one matrix product
instead of one a step, and the null class's table serves every job of that schedule. What does not fit the budget is
computed in the step that needs it. Either way rows are computed in tiles of one fixed size: a library may choose its
arithmetic by the number of rows, and the result must not depend on where it was computed. Knows the DiT's `modulations`
and nothing of samples or requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from models.dit import DiT

TILE = 16  # rows of every product; the last tile of a table is filled up


class Conditioning:
    """Modulations of one model by (class, timesteps), the least recently used given up first."""

    def __init__(self, model: DiT, budget_bytes: int) -> None:
        self._model = model
        self._budget_bytes = budget_bytes
        self._tables: OrderedDict[tuple[int, tuple[int, ...]], torch.Tensor] = OrderedDict()
        self.held_bytes = 0
        weight = model.modulation.weight
        self._row_bytes = weight.shape[0] * weight.element_size()

    def prepare(self, y: int, timesteps: tuple[int, ...]) -> None:
        """Compute and keep the table of class y over these timesteps, if it is not there and fits the budget at all."""
        key, size = (y, timesteps), len(timesteps) * self._row_bytes
        if key in self._tables:
            self._tables.move_to_end(key)
        elif size <= self._budget_bytes:
            while self.held_bytes + size > self._budget_bytes:
                _, dropped = self._tables.popitem(last=False)
                self.held_bytes -= dropped.numel() * dropped.element_size()
            self._tables[key] = self.compute(timesteps, [y] * len(timesteps))
            self.held_bytes += size

    def rows(self, wanted: Sequence[tuple[int, tuple[int, ...], int]]) -> torch.Tensor:
        """Return the modulations (S, 6L + 2, D) of S sequences, each given as (class, timesteps, index of its step)."""
        tables = [self._tables.get((y, timesteps)) for y, timesteps, _ in wanted]
        missing = [(timesteps[i], y) for (y, timesteps, i), table in zip(wanted, tables, strict=True) if table is None]
        computed = iter(self.compute([t for t, _ in missing], [y for _, y in missing]) if missing else ())
        return torch.stack(
            [next(computed) if table is None else table[i] for (_, _, i), table in zip(wanted, tables, strict=True)]
        )

    @torch.inference_mode()
    def compute(self, timesteps: Sequence[int], classes: Sequence[int]) -> torch.Tensor:
        """Return the modulations (S, 6L + 2, D) of S pairs, in tiles of TILE rows."""
        device = self._model.modulation.weight.device
        padded = -(-len(timesteps) // TILE) * TILE
        filling = [0] * (padded - len(timesteps))
        t = torch.tensor([*timesteps, *filling], device=device)
        y = torch.tensor([*classes, *filling], device=device)
        tiles = [self._model.modulations(*tile) for tile in zip(t.view(-1, TILE), y.view(-1, TILE), strict=True)]
        return torch.cat(tiles)[: len(timesteps)]
