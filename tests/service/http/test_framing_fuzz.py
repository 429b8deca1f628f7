"""Each connection's answers are exactly those of its requests, whatever it sends and in whatever pieces.

What the requests are is said by a model of its own (`strict`). An application that answers with what it was asked is
behind the protocol, and no socket: thousands of connections a second. FRAMING_CONNECTIONS is their number, for a long
run by hand, and FRAMING_SEED makes others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections import Counter
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from dit_serve.service.http.connections import Connections
from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.settings import HttpLimits
from dit_serve.service.telemetry.tally import Tally
from tests.service.http import framings
from tests.service.http.answers import Answer, read_answers
from tests.service.http.listening import MANY
from tests.service.http.strict import Asked, End, read

CONNECTIONS = int(os.environ.get("FRAMING_CONNECTIONS", "4000"))
SEED = int(os.environ.get("FRAMING_SEED", "20"))
AT_ONCE = 50
QUIET_ROUNDS = 12  # of the loop in which nothing happens: then nothing more will
REFUSALS = {400, 408, 413, 431, 505}


class Unbroken:
    """As much of a socket as is looked at."""

    family = None

    def getsockopt(self, *_: int) -> int:
        return 0

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    getsockname = getpeername


class Wire(asyncio.Transport):
    """A connection without a system beneath it."""

    def __init__(self) -> None:
        super().__init__({"socket": Unbroken()})
        self.sent = b""
        self.is_paused = self.is_ended = self._is_closing = False
        self.protocol: GuardedProtocol

    def write(self, data: Any) -> None:
        assert not self.is_ended, "nothing is said after the end"
        self.sent += data

    def close(self) -> None:
        if not self._is_closing:
            self.is_ended = self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def write_eof(self) -> None:
        self.is_ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self.is_paused

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0


def echo(asked: Asked) -> bytes:
    """What the application says of a request."""
    path, _, query = asked.target.partition(b"?")
    tags = b",".join(asked.values(b"x-tag"))
    keys = b"%d" % len(asked.values(b"x-api-key"))
    return b"|".join((asked.method, path, query, tags, keys, hashlib.sha1(asked.body).hexdigest().encode()))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked, with a length or without."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    fields = tuple((name, value.strip(b" \t")) for name, value in scope["headers"])
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    said = echo(Asked(scope["method"].encode(), target, b"", fields, body))
    headers = [(b"x-echo", said)]
    if len(body) % 2:
        headers.append((b"content-length", b"%d" % len(said)))
    for _ in range(len(body) % 4):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said[:5], "more_body": True})
    await send({"type": "http.response.body", "body": said[5:]})


class Server:
    """The protocol as the service uses it, around the application above."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._kind = guarded_protocol(HttpLimits(), self.tally, Connections(MANY))
        self._config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
        self._config.load()
        self._state = ServerState()

    async def talk(self, data: bytes, source: random.Random, half_closes: bool = False) -> tuple[bytes, bool]:
        """What it says to a client who sends this, and whether it ends the connection."""
        wire = Wire()
        wire.protocol = protocol = self._kind(config=self._config, server_state=self._state, app_state={})
        protocol.connection_made(wire)
        is_hasty = source.random() < 0.5
        for piece in framings.pieces(data, source):
            while wire.is_paused and not wire.is_closing():
                await asyncio.sleep(0)
            if wire.is_closing():
                break
            protocol.data_received(piece)
            if not is_hasty and source.random() < 0.3:
                await asyncio.sleep(0)
        if half_closes and not wire.is_closing() and not protocol.eof_received():
            wire.close()
        await self._settle(wire)
        is_ended = wire.is_ended
        wire.close()
        await asyncio.sleep(0)
        return wire.sent, is_ended

    async def _settle(self, wire: Wire) -> None:
        quiet, said = 0, -1
        while quiet < QUIET_ROUNDS:
            quiet, said = (quiet + 1, said) if said == len(wire.sent) else (0, len(wire.sent))
            await asyncio.sleep(0)


def fault(data: bytes, said: bytes, is_ended: bool) -> str | None:
    """What is wrong with what a server said."""
    asked, end = read(data)
    answers = read_answers(said, [each.method for each in asked])
    if answers is None:  # of what nobody is sure, it is not even known whether it was a HEAD
        return None if end is End.UNSURE else "is no sequence of answers"
    echoes = [answer.echo for answer in answers if answer.status == 200]
    wanted = [echo(each) for each in asked]
    if echoes[: len(wanted)] != wanted or (len(echoes) > len(wanted) and end is not End.UNSURE):
        return f"{echoes} is not {wanted}"
    for each, answer in zip(asked, answers, strict=False):
        if each.version == b"HTTP/1.0" and b"transfer-encoding" in answer.headers:
            return "holds chunks, for HTTP/1.0"
    return fault_of_end(end, answers[len(wanted) :], is_ended)


def fault_of_end(end: End, rest: list[Answer], is_ended: bool) -> str | None:
    if any(answer.status not in REFUSALS | {200} for answer in rest):
        return f"{rest} is no refusal"
    wanted: dict[End, set[tuple[int, bool]]] = {
        End.OPEN: {(0, False)},
        End.LAST: {(0, True)},
        End.REFUSED: {(1, True)},
        End.UNFINISHED: {(0, False), (1, True)},
    }
    if end in wanted and (len(rest), is_ended) not in wanted[end]:
        return f"after the answers come {rest}, ended {is_ended}, where the bytes end {end.value}"
    return None


def test_the_answers_of_a_connection_are_those_of_its_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a long run would keep a line for each refusal
    source = random.Random(SEED)
    ends: Counter[End] = Counter()

    async def one(server: Server, data: bytes) -> None:
        _, end = read(data)
        half_closes = end not in (End.UNFINISHED, End.UNSURE) and source.random() < 0.2
        said, is_ended = await server.talk(data, source, half_closes)
        found = fault(data, said, is_ended and not (half_closes and end is End.OPEN))
        assert found is None, f"{found}\n{data!r}\n{said!r}"
        ends[end] += 1

    async def all_of_them() -> None:
        server = Server()
        for _ in range(CONNECTIONS // AT_ONCE):
            await asyncio.gather(*(one(server, framings.connection(source)) for _ in range(AT_ONCE)))

    asyncio.run(all_of_them())
    assert all(ends[end] > CONNECTIONS // 50 for end in End if end is not End.UNSURE)  # or they were not varied enough
    assert ends[End.UNSURE] < CONNECTIONS // 10


def test_the_model_finds_the_requests_that_were_made() -> None:
    source = random.Random(SEED)
    for _ in range(500):
        made = framings.requests(source)
        asked, end = read(b"".join(made))
        assert [each.values(b"x-tag") for each in asked] == [[b"%d" % number] for number in range(len(asked))]
        assert end is (End.OPEN if len(asked) == len(made) and not is_last(made[-1]) else End.LAST)


def is_last(request: bytes) -> bool:
    return b"HTTP/1.0\r\n" in request or b"close\r\n" in request


@pytest.mark.parametrize("hostile", framings.HOSTILE + framings.ENDLESS)
def test_what_is_no_request_is_refused_in_any_pieces(hostile: bytes) -> None:
    good = b"GET /1 HTTP/1.1\r\nHost: host.example\r\n\r\n"

    async def all_of_them() -> None:
        server = Server()
        for seed in range(8):
            said, is_ended = await server.talk(good + hostile + framings.BAIT, random.Random(seed))
            answers = read_answers(said, [b"GET"])
            assert answers is not None
            assert [answer.status in REFUSALS for answer in answers] == [False, True], said
            assert is_ended

    asyncio.run(all_of_them())
