"""A place of a batch, and what can be said of several: the engine's own view of an image in the making.

Knows no model: a sample is opaque but for its position. Knows no queue and no thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.job import Job, Timings


class Sample(Protocol):
    """One image in the making, as the engine sees it; i of its steps are done."""

    @property
    def i(self) -> int: ...

    @property
    def is_done(self) -> bool: ...


@dataclass(slots=True)
class Row:
    """What one place of a batch is doing."""

    job: Job
    sample: Sample
    queue_seconds: float
    began_at: float


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


def row_timings(row: Row, until: float | None = None) -> Timings:
    """What a row has cost up to a time by the monotonic clock, by default now."""
    end = time.monotonic() if until is None else until
    return Timings(row.queue_seconds, end - row.began_at)
