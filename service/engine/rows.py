"""A place of a batch, and what can be said of several: the engine's own view of an image in the making.

Knows no model: a sample is opaque but for its position. Knows no queue and no thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dit_serve.service.wire.job import Job, Timings


class Sample(Protocol):
    """One image in the making, as the engine sees it; i of its steps are done."""

    @property
    def i(self) -> int: ...

    @property
    def is_done(self) -> bool: ...


@dataclass(slots=True)
class Row:
    """What one place of a batch is doing; `denoised_at` is when its last step was done."""

    job: Job
    sample: Sample
    began_at: float
    denoised_at: float | None = None


def count_sequences(rows: Sequence[Row]) -> int:
    """How many sequences of a batch the rows take."""
    return sum(row.job.sequences for row in rows)


def split_rows(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """The rows in their order, in parts of at most so many sequences."""
    part: list[Row] = []
    for row in rows:
        if part and count_sequences(part) + row.job.sequences > most:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def row_timings(row: Row) -> Timings:
    """What a row has cost up to now: its steps, and what has passed since the last of them."""
    now = time.monotonic()
    denoised_at = now if row.denoised_at is None else row.denoised_at
    return Timings(denoise=denoised_at - row.began_at, decode=now - denoised_at)
