"""The ends of connections: nobody loses an answer by them, and nothing is read without bound."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from dit_serve.service.http.closing import LINGER_BYTES, close_after_answers
from tests.service.http.listening import listening, run

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
REFUSED = [(b"content-length", b"2")]


async def refuse(_: Any, __: Any, send: Any) -> None:
    """Answers before it has read anything."""
    await send({"type": "http.response.start", "status": 401, "headers": REFUSED})
    await send({"type": "http.response.body", "body": b"no"})


async def stream(_: Any, receive: Any, send: Any) -> None:
    """Answers in pieces, and never says how long that will be."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for piece in (b"one ", b"two ", b"three"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_an_answer_to_a_whole_request_keeps_the_connection() -> None:
    async def test() -> None:
        async with listening(refuse) as here:
            last = GET[:-2] + b"Connection: close\r\n\r\n"
            said = await here.talk(POST + b"Content-Length: 2\r\n\r\nab" + GET + last)
            assert said.count(b"HTTP/1.1 401 ") == 3
            assert said.count(b"connection: close") == 1

    run(test)


def test_an_answer_before_the_body_is_there_is_the_last_and_is_read_whole() -> None:
    async def test() -> None:
        async with listening(refuse) as here:
            reader, writer = await here.connect()
            writer.write(POST + b"Content-Length: 100000\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"connection: close" in head
            for _ in range(10):
                writer.write(b"a" * 10_000)
                await writer.drain()
            assert await reader.read(-1) == b"no"
            writer.close()

    run(test)


ENDLESS = [b"Transfer-Encoding: chunked\r\n\r\n1;a", b"Content-Length: 4294967296\r\n\r\n", b"X: "]


@pytest.mark.parametrize("start", ENDLESS)
def test_what_is_sent_after_the_last_answer_is_not_read_without_bound(start: bytes) -> None:
    async def test() -> None:
        async with listening(stream) as here:
            _, writer = await here.connect()
            writer.write(POST + start)
            taken = 0
            with contextlib.suppress(ConnectionError):
                while taken < 1 << 30:
                    writer.write(b"a" * 65536)
                    await writer.drain()
                    taken += 65536
            assert taken < 64 * LINGER_BYTES  # the systems at both ends hold some of it
            writer.close()

    run(test)


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
def test_an_answer_to_http_1_0_has_no_chunks_and_ends_with_the_connection(connection: bytes) -> None:
    async def test() -> None:
        async with listening(stream) as here:
            said = await here.talk(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n" + connection + b"\r\n")
            head, _, body = said.partition(b"\r\n\r\n")
            assert body == b"one two three"
            assert b"\r\nconnection: close" in head
            assert b"transfer-encoding" not in head
            assert here.state.tasks == set()

    run(test)


def test_a_head_request_of_http_1_0_has_no_body() -> None:
    async def test() -> None:
        async with listening(stream) as here:
            said = await here.talk(b"HEAD / HTTP/1.0\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 200 ")
            assert said.endswith(b"\r\n\r\n")

    run(test)


def test_a_drain_ends_each_connection_with_its_next_answer() -> None:
    may_answer = asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await may_answer.wait()
        await refuse(scope, receive, send)

    async def test() -> None:
        async with listening(wait) as here:
            idle, fresh, busy = [await here.connect() for _ in range(3)]
            idle[1].write(GET)
            assert b"connection: close" not in await idle[0].readuntil(b"no")
            busy[1].write(GET.replace(b"/", b"/slow", 1))
            while here.state.total_requests < 1 or not here.state.tasks:
                await asyncio.sleep(0)
            close_after_answers(here.state, here.config.encoded_headers)
            for _, writer in (idle, fresh):
                writer.write(GET)
            may_answer.set()
            for reader, writer in (idle, fresh, busy):
                assert b"connection: close" in await reader.read(-1)
                writer.close()

    run(test)


def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    async def test() -> None:
        async with listening(refuse, keep_alive_seconds="3600") as here:
            reader, writer = await here.connect()
            writer.write(GET)
            await reader.readuntil(b"no")
            here.protocols[0].shutdown()  # what uvicorn does in the end
            assert await reader.read(-1) == b""
            writer.close()

    run(test)


def test_what_is_idle_or_half_sent_for_too_long_is_closed_each_in_its_time() -> None:
    async def test() -> None:
        async with listening(refuse, keep_alive_seconds="1", header_seconds="0.2") as here:
            reader, writer = await here.connect()
            writer.write(GET)
            await reader.readuntil(b"no")
            assert here.protocols[0].timeout_keep_alive == 1
            assert await reader.read(-1) == b""  # idle
            writer.close()
            assert b" 408 " in await here.talk(GET + GET[:20])  # half sent: before the second that it may be idle

    run(test)
