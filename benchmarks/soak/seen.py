"""What the clients of a soak saw: how often which status, whether an image was ever another, what became of promises.

Knows no server and no connection.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.load import event_of

MOST_TOLD = 5  # of a kind of surprise: the report names examples
LEAST_ANNOUNCED_SECONDS = 1e-3  # what is announced as 0.000 may be half of it


class Event(NamedTuple):
    """One event of a stream, and when it came by the monotonic clock."""

    at: float
    name: str
    data: Any


@dataclass(slots=True)
class Stream:
    """The events of one stream, put together from the pieces in which they come."""

    events: list[Event] = field(default_factory=list)
    _rest: bytes = b""

    def hear(self, piece: bytes) -> None:
        """Takes in what has just come."""
        now = time.monotonic()
        *blocks, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        events = (event_of(block.decode()) for block in blocks)
        self.events += [Event(now, *event) for event in events if event is not None]

    def of(self, name: str) -> list[Event]:
        """The events of a name, in the order in which they came."""
        return [event for event in self.events if event.name == name]


@dataclass(slots=True)
class Seen:
    """The books of all clients together."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)  # by path and status; 0 is no answer
    kinds: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)  # answers that should have been others
    images: int = 0
    differing: list[str] = field(default_factory=list)  # images that were others the first time
    waits: list[tuple[float, float]] = field(default_factory=list)  # of plain images: when they came, after how long
    queued_ratios: list[float] = field(default_factory=list)  # seconds that it took over those announced: on arrival,
    begun_ratios: list[float] = field(default_factory=list)  # and with the first step
    _digests: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def answer(self, kind: str, path: str, status: int, allowed: Collection[int]) -> bool:
        """Counts an answer; whether it was one of those allowed."""
        self.statuses[path, status] += 1
        self.kinds[kind] += 1
        if status not in allowed:
            self.surprises.append(f"{kind}: {status}")
        return status in allowed

    def image(self, kind: str, spec: int, index: int, png: bytes) -> None:
        """Compares image `index` of a request for this spec with the first that was made of it."""
        self.images += 1
        digest = hashlib.sha256(png).digest()
        if self._digests.setdefault((spec, index), digest) != digest:
            self.differing.append(f"{kind}: image {index} of request {spec}")

    def times(self, stream: Stream) -> None:
        """Holds what a finished stream announced, in its first place in the queue and its first step, to what came."""
        ends = {event.data["index"]: event.at for event in stream.of("completed")}
        for event in stream.of("queued")[:1]:
            self.queued_ratios += _ratio(event, max(ends.values()))
        for event in stream.of("progress")[:1]:
            self.begun_ratios += _ratio(event, ends[event.data["index"]])


def examples(told: Sequence[str]) -> str:
    """The most frequent of these sentences with their numbers, led by how many there are; "0" of none."""
    most = Counter(told).most_common(MOST_TOLD)
    return f"{len(told)}" + "".join(f"; {count} x {text}" for text, count in most)


def _ratio(event: Event, ended_at: float) -> list[float]:
    announced = event.data["eta_seconds"]
    return [] if announced is None else [(ended_at - event.at) / max(announced, LEAST_ANNOUNCED_SECONDS)]
