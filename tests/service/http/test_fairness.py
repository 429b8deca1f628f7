"""Requests that are sent before earlier ones are answered: all answered, in order, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from dit_serve.service.http.connections import Connections
from dit_serve.service.http.fairness import MAX_PARSED_AHEAD, SLICE_BYTES, STARTS_PER_ROUND, Turns
from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Tally
from tests.service.http.listening import MANY
from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

SMALLEST = b"GET /%04d HTTP/1.1\r\nHost: x\r\n\r\n"


class World:
    """One connection to our protocol with an application that answers when it is told to, with the path."""

    def __init__(self, **settings: str) -> None:
        self.may_answer = asyncio.Event()
        self.begun: list[str] = []
        config = uvicorn.Config(self._app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
        config.load()
        limits = read_settings({}, settings).limits
        kind = guarded_protocol(limits, Tally(), Connections(MANY))
        self.protocol: GuardedProtocol = kind(config=config, server_state=ServerState(), app_state={})

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        await self.may_answer.wait()
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": body})

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.protocol, theirs)
        return await asyncio.open_connection(sock=ours)


def with_world(test: Callable[[World], Awaitable[None]], **settings: str) -> None:
    async def run() -> None:
        world = World(**settings)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await test(world)
        world.protocol.transport.close()
        while world.protocol.parser is not None:  # until the connection is gone
            await asyncio.sleep(0)

    asyncio.run(run())


def test_few_requests_are_parsed_ahead_and_all_are_answered_in_order() -> None:
    async def test(world: World) -> None:
        reader, writer = await world.connect()
        writer.write(b"".join(SMALLEST % number for number in range(500)))
        while not world.begun:
            await asyncio.sleep(0)
        assert len(world.protocol.pipeline) <= MAX_PARSED_AHEAD + SLICE_BYTES // len(SMALLEST % 0)
        assert not world.protocol.transport.is_reading()
        assert world.begun == ["/0000"]
        world.may_answer.set()
        for number in range(500):
            assert await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"/%04d" % number
        assert world.begun == [f"/{number:04d}" for number in range(500)]
        assert world.protocol.transport.is_reading()
        writer.close()

    with_world(test)


def test_a_request_that_is_cut_by_the_limit_is_not_timed_while_others_are_answered() -> None:
    async def test(world: World) -> None:
        reader, writer = await world.connect()
        ask = b"GET /%04d HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200 + b"\r\n\r\n"
        asks = b"".join(ask % number for number in range(30))
        writer.write(asks)
        while not world.begun:
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)  # past the limit: what is tested is that nothing comes of it
        world.may_answer.set()
        for number in range(30):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(5) == b"/%04d" % number
        writer.close()

    with_world(test, header_seconds="0.1", body_seconds="0.1")


def test_a_client_that_leaves_ends_what_it_has_sent_ahead() -> None:
    async def test(world: World) -> None:
        _, writer = await world.connect()
        writer.write(b"".join(SMALLEST % number for number in range(500)))
        while not world.begun:
            await asyncio.sleep(0)
        world.protocol.transport.abort()
        while world.protocol.parser is not None:
            await asyncio.sleep(0)
        world.may_answer.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.begun == ["/0000"]
        writer.close()

    with_world(test)


def test_a_round_of_the_loop_starts_only_a_few_in_order() -> None:
    async def run() -> None:
        turns, started, rounds = Turns(), list[int](), list[int]()
        for number in range(3 * STARTS_PER_ROUND + 1):
            turns.add(lambda number=number: started.append(number))
        while len(started) < 3 * STARTS_PER_ROUND + 1:
            await asyncio.sleep(0)
            rounds.append(len(started))
        assert rounds[-4:] == [STARTS_PER_ROUND, 2 * STARTS_PER_ROUND, 3 * STARTS_PER_ROUND, len(started)]
        assert started == sorted(started)

    asyncio.run(run())


def test_a_server_answers_every_request_that_is_sent_ahead() -> None:
    with running(fake_command()) as server:
        answers = talk(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 300 + b"GET /livez HTTP/1.0\r\n\r\n")
        assert answers.count(b"HTTP/1.1 200 ") == 301
        assert server.terminate() == 0
        (tally,) = [line for line in server.seen if line.get("event") == "tally"]
        assert (tally["completed"], tally["under_way"]) == (301, 0)


def talk(server: Running, request: bytes) -> bytes:
    """Everything that the server says until it closes the connection."""
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), PATIENCE_SECONDS) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
        return received
