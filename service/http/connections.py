"""How many connections are open, in all and of one peer, and which of them make room for new ones.

A connection is a descriptor, and the process has a number of these that workers and probes need too. So there is a
bound in all and one for each peer; what comes beyond it takes the place of another: of one that has not said anything
yet, else of one that is idle between requests, else of one whose request or whose reading of an answer stands still,
each time the one that has been so for longest. One that is answered, or whose request or answer moves, is never
pushed out, nor is one that had an image a moment ago and may ask for the next. Where nobody makes room, a newcomer is
a surplus: there are a few places for those, so that a probe can be answered, and a request for anything else told why
it is not.

A peer is an IPv4 address, or the 64 bits of an IPv6 address that one subscriber is given.

Knows no request and opens nothing: `service.http.accepting` does.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any, Protocol

PATIENCE_SECONDS = 2.0  # in which a request or an answer has to move
LEAST_BYTES = 1024  # that are a move
LOOKS = 8  # at connections of one kind, for one that can make room
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 address in IPv6 (RFC 4291, section 2.5.5.2)


class Doing(Enum):
    """What a connection does, in the order in which they make room."""

    LEAVING = "leaving"  # its end is decided
    SILENT = "silent"  # it has not asked for anything yet
    IDLE = "idle"  # it has been answered
    SERVED = "served"  # it has been given images, and is idle
    READING = "slow"  # its request is coming
    UNREAD = "unread"  # its answer waits to be read
    ANSWERING = "answering"


REFUSED = "refused"
_BY_TURNS = (Doing.SILENT, Doing.IDLE, Doing.SERVED, Doing.READING, Doing.UNREAD)
REASONS = (*(each.value for each in _BY_TURNS), REFUSED)


class Connection(Protocol):
    """What is asked of a connection, and told to it."""

    def doing(self) -> Doing:
        """What it does now."""

    def progress(self) -> int:
        """A number that grows by each byte of a request that comes, or of an answer that is read."""

    def has_unsent(self) -> bool:
        """Whether some of an answer waits to be sent."""

    def make_room(self) -> None:
        """Ends it; at once if it is leaving already."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most connections.

    Args:
        in_all: that are served.
        of_peer: of these, by one peer.
        surplus: beside these, to be told that there are too many, or about to end.
    """

    in_all: int
    of_peer: int
    surplus: int


@dataclass(slots=True, eq=False)
class _Place:
    """A connection's place.

    Args:
        peer: who has connected.
        listens_to: its socket.
        rank: what it counts as doing.
        since: when it began to, or was last seen to move.
        mark: its progress then.
        is_surplus: whether it is one too many.
    """

    connection: Connection
    peer: str
    listens_to: socket.socket
    rank: Doing
    since: float
    mark: int = 0
    is_surplus: bool = False


@dataclass(slots=True)
class _Group:
    """Places by what they count as doing, each kind from the longest to the shortest."""

    by_rank: dict[Doing, dict[_Place, None]] = field(default_factory=lambda: {rank: {} for rank in Doing})
    size: int = 0

    @property
    def staying(self) -> int:
        """Those whose end is not decided."""
        return self.size - len(self.by_rank[Doing.LEAVING])

    def put(self, place: _Place) -> None:
        self.by_rank[place.rank][place] = None
        self.size += 1

    def take_out(self, place: _Place) -> None:
        del self.by_rank[place.rank][place]
        self.size -= 1


class Connections:
    """The connections of one server.

    Args:
        bounds: most of them.
        on_full: told each time that one makes room or is refused.
        clock: in seconds.

    Attributes:
        closed: how many made room or were refused, by reason.
        most: that were open at once, since whoever asks for it has set it anew.
    """

    def __init__(
        self,
        bounds: Bounds,
        on_full: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bounds = bounds
        self.closed: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.most = 0
        self._on_full = on_full
        self._clock = clock
        self._places: dict[Connection, _Place] = {}
        self._all = _Group()
        self._peers: dict[str, _Group] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def are_full(self) -> bool:
        """Whether not even a surplus has a place."""
        return len(self._places) >= self.bounds.in_all + self.bounds.surplus

    def enter(self, connection: Connection, peer: str, listens_to: socket.socket) -> None:
        """Gives a new connection its place: that of another one, where there are as many as may be."""
        place = _Place(connection, peer, listens_to, Doing.SILENT, self._clock())
        group = self._peers.setdefault(peer, _Group())
        for each, bound in ((self._all, self.bounds.in_all), (group, self.bounds.of_peer)):
            while each.staying >= bound and self._push_out(each):
                pass
        place.is_surplus = self._all.staying >= self.bounds.in_all or group.staying >= self.bounds.of_peer
        self._places[connection] = place
        self.most = max(self.most, len(self._places))
        self._all.put(place)
        group.put(place)

    def push_out(self) -> bool:
        """Has those that are leaving make room, or else another one; false if none can."""
        count = 0
        for place in tuple(self._all.by_rank[Doing.LEAVING]):
            if self._can_go(place, self._clock()):
                place.connection.make_room()
                count += 1
        return count > 0 or self._push_out(self._all)

    def changed(self, connection: Connection) -> None:
        """Notes what a connection does now."""
        if (place := self._places.get(connection)) is not None:  # else it is gone
            rank = self._rank(place)
            if rank is not place.rank:
                self._move(place, rank)

    def left(self, connection: Connection) -> None:
        """Forgets a connection, which is closed."""
        if (place := self._places.pop(connection, None)) is not None:
            self._all.take_out(place)
            group = self._peers[place.peer]
            group.take_out(place)
            if not group.size:
                del self._peers[place.peer]

    def is_surplus(self, connection: Connection) -> bool:
        """Whether a connection, whose request is there, is one too many, and nobody makes room for it now either."""
        place = self._places.get(connection)
        if place is None or not place.is_surplus:
            return False
        self._move(place, Doing.ANSWERING)  # or it would make room for itself
        groups = ((self._all, self.bounds.in_all), (self._peers[place.peer], self.bounds.of_peer))
        for group, bound in groups:
            while group.staying > bound and self._push_out(group):
                pass
        place.is_surplus = any(group.staying > bound for group, bound in groups)
        return place.is_surplus

    def refused(self) -> None:
        """Counts a request that was told that there are too many connections."""
        self._count(REFUSED)

    def _push_out(self, group: _Group) -> bool:
        place = self._who_makes_room(group) or self._who_makes_room(group)  # the first look may only bring order
        if place is None:
            return False
        reason = place.connection.doing().value
        place.connection.make_room()
        self.changed(place.connection)
        if place.rank is not Doing.LEAVING:  # it ends with the answer that it is given already
            self._move(place, place.rank)
            return False
        self._count(reason)
        return True

    def _count(self, reason: str) -> None:
        self.closed[reason] += 1
        self._on_full()

    def _who_makes_room(self, group: _Group) -> _Place | None:
        now = self._clock()
        for rank in _BY_TURNS:
            for place in tuple(islice(group.by_rank[rank], LOOKS)):
                if (actual := self._rank(place)) is not rank:
                    self._move(place, actual)
                elif self._can_go(place, now):
                    return place
        return None

    def _can_go(self, place: _Place, now: float) -> bool:
        if place.rank is Doing.LEAVING and not place.connection.has_unsent():
            return True
        is_idle = place.rank in (Doing.SILENT, Doing.IDLE)
        if not is_idle and now - place.since < PATIENCE_SECONDS:
            return False
        if is_idle or place.rank is Doing.SERVED:
            has_moved = _has_said_more(place.listens_to)  # what is read in a moment
        else:
            has_moved = place.connection.progress() - place.mark >= LEAST_BYTES
        if has_moved:
            self._move(place, place.rank)
        return not has_moved

    def _rank(self, place: _Place) -> Doing:
        doing = place.connection.doing()
        # A surplus waits for no slow request: the next one may be a probe.
        return Doing.SILENT if place.is_surplus and doing is Doing.READING else doing

    def _move(self, place: _Place, rank: Doing) -> None:
        """Puts a place behind all others of a rank."""
        groups = (self._all, self._peers[place.peer])
        for group in groups:
            group.take_out(place)
        place.rank, place.since, place.mark = rank, self._clock(), place.connection.progress()
        for group in groups:
            group.put(place)


def peer_of(address: tuple[Any, ...]) -> str:
    """Who has connected from an address, as the socket gives it."""
    host = str(address[0]).partition("%")[0]
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host)
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))


def _has_said_more(connection: socket.socket) -> bool:
    """Whether bytes have come that nobody has read yet."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except OSError:  # nothing has come, or it is gone
        return False
