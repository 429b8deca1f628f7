"""Who makes room for whom, and when nobody does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dit_serve.service.http.connections import LEAST_BYTES, PATIENCE_SECONDS, Bounds, Connections, Doing, peer_of


class Client:
    """A connection that does as it is told, and both ends of its socket."""

    def __init__(self, does: Doing) -> None:
        self.does = does
        self.moved = 0
        self.unsent = False
        self.here, self.there = socket.socketpair()

    def doing(self) -> Doing:
        return self.does

    def progress(self) -> int:
        return self.moved

    def has_unsent(self) -> bool:
        return self.unsent

    def make_room(self) -> None:
        self.does = Doing.LEAVING


class World:
    """Connections with a clock that is set by hand."""

    def __init__(self, in_all: int = 3, of_peer: int = 3, surplus: int = 2) -> None:
        self.now = 0.0
        self.told = 0
        self.opened = ExitStack()
        self.connections = Connections(Bounds(in_all, of_peer, surplus), self._tell, lambda: self.now)

    def _tell(self) -> None:
        self.told += 1

    def connect(self, does: Doing = Doing.SILENT, peer: str = "a") -> Client:
        client = Client(does)
        self.opened.enter_context(client.here)
        self.opened.enter_context(client.there)
        self.connections.enter(client, peer, client.here)
        self.connections.changed(client)
        self.now += 0.001
        return client


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.opened:
        yield world


def test_a_newcomer_takes_the_place_of_who_has_been_silent_for_longest(world: World) -> None:
    clients = [world.connect() for _ in range(5)]
    assert [client.does for client in clients] == [Doing.LEAVING] * 2 + [Doing.SILENT] * 3
    assert not any(map(world.connections.is_surplus, clients))
    assert (world.connections.closed["silent"], world.told) == (2, 2)


@pytest.mark.parametrize(
    ("first", "then"),
    [(Doing.SILENT, Doing.IDLE), (Doing.IDLE, Doing.SERVED), (Doing.SERVED, Doing.READING),
     (Doing.READING, Doing.UNREAD), (Doing.UNREAD, Doing.ANSWERING)],
)
def test_who_makes_room_first(world: World, first: Doing, then: Doing) -> None:
    older, newer, busy = world.connect(then), world.connect(first), world.connect(Doing.ANSWERING)
    world.now += PATIENCE_SECONDS
    world.connect()
    assert (older.does, newer.does, busy.does) == (then, Doing.LEAVING, Doing.ANSWERING)


@pytest.mark.parametrize("does", [Doing.SERVED, Doing.READING, Doing.UNREAD, Doing.ANSWERING])
def test_who_has_just_begun_or_been_served_keeps_its_place_and_the_newcomer_is_a_surplus(
    world: World, does: Doing
) -> None:
    clients = [world.connect(does) for _ in range(3)]
    late = world.connect()
    assert all(client.does is does for client in clients)
    assert world.connections.is_surplus(late)
    world.connections.left(clients[0])
    assert not world.connections.is_surplus(late)


@pytest.mark.parametrize("does", [Doing.READING, Doing.UNREAD])
def test_what_moves_keeps_its_place(world: World, does: Doing) -> None:
    moving, still, _ = world.connect(does), world.connect(does), world.connect(Doing.ANSWERING)
    for _ in range(3):
        world.now += PATIENCE_SECONDS
        moving.moved += LEAST_BYTES
        world.connections.push_out()
    assert (moving.does, still.does) == (does, Doing.LEAVING)


@pytest.mark.parametrize("does", [Doing.SILENT, Doing.IDLE])
def test_who_has_sent_what_nobody_has_read_yet_keeps_its_place(world: World, does: Doing) -> None:
    asking, quiet = world.connect(does), world.connect(does)
    asking.there.send(b"GET")
    assert world.connections.push_out()
    assert (asking.does, quiet.does) == (does, Doing.LEAVING)


def test_what_a_connection_did_when_nobody_looked_is_found_out(world: World) -> None:
    clients = [world.connect(Doing.UNREAD) for _ in range(3)]
    for client in clients:
        client.does = Doing.IDLE
    world.connect()
    assert [client.does for client in clients] == [Doing.LEAVING, Doing.IDLE, Doing.IDLE]


def test_a_peer_at_its_bound_takes_its_own_places_alone() -> None:
    world = World(in_all=10, of_peer=2)
    with world.opened:
        other = world.connect(peer="b")
        own = [world.connect(peer="a") for _ in range(4)]
        assert (other.does, [client.does for client in own]) == (
            Doing.SILENT, [Doing.LEAVING, Doing.LEAVING, Doing.SILENT, Doing.SILENT])
        own[2].does = own[3].does = Doing.ANSWERING
        assert world.connections.is_surplus(world.connect(peer="a"))
        assert not world.connections.is_surplus(world.connect(peer="c"))


def test_a_surplus_has_a_place_if_somebody_can_make_room_when_its_request_is_there(world: World) -> None:
    clients = [world.connect(Doing.ANSWERING) for _ in range(3)]
    late = world.connect()
    clients[1].does = Doing.IDLE
    world.connections.changed(clients[1])
    assert not world.connections.is_surplus(late)
    assert (clients[1].does, late.does) == (Doing.LEAVING, Doing.SILENT)


def test_a_surplus_waits_for_no_slow_surplus(world: World) -> None:
    for _ in range(3):
        world.connect(Doing.ANSWERING)
    slow = world.connect()
    slow.does = Doing.READING
    world.connections.changed(slow)
    late = world.connect()
    assert (slow.does, world.connections.is_surplus(late)) == (Doing.LEAVING, True)


def test_places_are_full_with_the_surplus_and_free_with_those_that_leave(world: World) -> None:
    clients = [world.connect(Doing.ANSWERING) for _ in range(5)]
    assert world.connections.are_full
    assert not world.connections.push_out()
    clients[0].does = Doing.LEAVING
    clients[0].unsent = True  # it still reads its last answer
    world.connections.changed(clients[0])
    assert not world.connections.push_out()
    clients[0].unsent = False
    assert world.connections.push_out()
    for client in clients:
        world.connections.left(client)
    assert len(world.connections) == 0
    assert sum(world.connections.closed.values()) == 0


@pytest.mark.parametrize(
    ("address", "peer"),
    [(("192.0.2.7", 1), "192.0.2.7"), (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"), (("::1", 1, 0, 0), "::"),
     (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::"), (("fe80::1%eth0", 1, 0, 2), "fe80::")],
)
def test_a_peer_is_an_address_or_the_first_half_of_one(address: tuple[object, ...], peer: str) -> None:
    assert peer_of(address) == peer
