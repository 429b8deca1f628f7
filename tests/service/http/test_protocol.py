"""Refusals in their turn, each request counted once, and bytes that are bounded as they are sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dit_serve.service.http.protocol import WIRE_FACTOR
from tests.service.http.listening import Listening, listening, run

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_HEAD = b"GET / HTTP/1.1\r\n\r\n"
BAD_BODY = CHUNKED + b"5\r\n12345\r\nno size\r\n"


class Counting:
    """An application that reads a body, answers when it may, and counts as the middleware does."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.here: Listening

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.here.tally.received += 1
        status, message = 200, {"more_body": True}
        while message.get("more_body"):
            message = await receive()
        if message["type"] == "http.request":
            await self.may_answer.wait()
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        self.here.tally.end(scope["state"].get("ended_as", status))


@pytest.mark.parametrize("bad", [BAD_HEAD, BAD_BODY], ids=["head", "body"])
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_what_cannot_be_read_is_refused_after_the_answers_before_it(bad: bytes, count: int) -> None:
    async def test() -> None:
        app = Counting()
        async with listening(app) as here:
            app.here = here
            reader, writer = await here.connect()
            writer.write(GET * count + bad + GET)
            while here.tally.received < min(1, count):
                await asyncio.sleep(0)
            app.may_answer.set()
            said = await reader.read(-1)
            assert (said.count(b"HTTP/1.1 200 "), said.count(b"HTTP/1.1 400 ")) == (count, 1)
            assert said.rindex(b"HTTP/1.1 ") == said.index(b"HTTP/1.1 400 ")
            writer.close()
            while here.state.tasks:
                await asyncio.sleep(0)
            assert (here.tally.received, here.tally.under_way) == (count + 1, 0)
            assert here.tally.answered["other", 400, ""] == 1

    run(test)


@pytest.mark.parametrize(
    "piece", [b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n1\r\n", b"1\r\na\r\n"], ids=["extensions", "small chunks"]
)
def test_a_body_is_bounded_as_it_is_sent(piece: bytes) -> None:
    async def test() -> None:
        app = Counting()
        async with listening(app, max_body_bytes="1024") as here:
            app.here = here
            said = await here.talk(CHUNKED + piece * (WIRE_FACTOR * 1024 // len(piece) + 80))
            assert said.startswith(b"HTTP/1.1 413 ")
            assert b"body-too-large" in said

    run(test)


def test_a_body_of_the_greatest_size_may_come_in_the_smallest_chunks() -> None:
    async def test() -> None:
        app = Counting()
        app.may_answer.set()
        async with listening(app, max_body_bytes="1024") as here:
            app.here = here
            said = await here.talk(CHUNKED + b"1\r\na\r\n" * 1024 + b"0\r\n\r\n", half_closes=True)
            assert said.startswith(b"HTTP/1.1 200 ")

    run(test)


def test_nothing_after_the_last_request_is_read() -> None:
    async def test() -> None:
        app = Counting()
        app.may_answer.set()
        async with listening(app) as here:
            app.here = here
            last = GET[:-2] + b"Connection: close\r\n\r\n"
            for more in (GET, BAD_HEAD, b"\x00"):
                assert (await here.talk(last + more)).count(b"HTTP/1.1 ") == 1
            assert here.tally.received == 3

    run(test)
