"""Fairness towards connections that send many requests before they have read an answer (HTTP pipelining).

Such requests are answered one after the other, as HTTP wants it. What a client has sent ahead costs memory and time
in the one event loop that serves everybody: so only a few of them are parsed ahead (`Ahead`), and those that waited
for an answer before them are begun by turns, a few in each round of the loop (`Turns`), while the first request of
every connection is begun at once. Knows no protocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

MAX_PARSED_AHEAD = 8
SLICE_BYTES = 256  # parsed at once: a dozen of the smallest requests
STARTS_PER_ROUND = 8


class Turns:
    """Starts things in order, a few in each round of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def add(self, start: Callable[[], None]) -> None:
        """Has `start` called when it is its turn."""
        self._waiting.append(start)
        self._call_soon()

    def _call_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        self._is_due = False
        for _ in range(min(STARTS_PER_ROUND, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            self._call_soon()


class Ahead(FlowControl):
    """What a client has sent and is not parsed yet; while there is any, reading does not go on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = bytearray()

    @property
    def is_holding(self) -> bool:
        """Whether there is something."""
        return bool(self._held)

    def hold(self, data: bytes) -> None:
        """Takes more of it."""
        self._held += data

    def next_slice(self) -> bytes:
        """The next piece to parse."""
        piece = bytes(self._held[:SLICE_BYTES])
        del self._held[:SLICE_BYTES]
        return piece

    def drop(self) -> int:
        """Forgets what is held; how many bytes that was."""
        size = len(self._held)
        self._held.clear()
        return size

    def resume_reading(self) -> None:
        """Reads on, unless what has been read is enough for now."""
        if not self._held:
            super().resume_reading()
