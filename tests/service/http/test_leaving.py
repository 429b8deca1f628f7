"""Clients that close one half of their connection: who reads gets an answer, who has left frees what it held."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.service.http.listening import listening, run

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class Slow:
    """An application that answers when it may, and knows when nobody waits any more."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.has_left = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        while (await receive())["more_body"]:
            pass
        leaving = asyncio.create_task(receive())
        waiting = asyncio.create_task(self.may_answer.wait())
        await asyncio.wait((leaving, waiting), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            waiting.cancel()
            self.has_left.set()
            return
        leaving.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_who_closes_one_half_at_once_gets_all_answers_and_then_the_end() -> None:
    async def test() -> None:
        app = Slow()
        app.may_answer.set()
        async with listening(app) as here:
            said = await here.talk(*(GET % number for number in (7, 8, 9)), half_closes=True)
            assert [said.count(b"/%d" % number) for number in (7, 8, 9)] == [1, 1, 1]

    run(test)


def test_who_closes_one_half_and_waits_long_gets_an_interim_answer_and_then_the_other() -> None:
    async def test() -> None:
        app = Slow()
        async with listening(app) as here:
            reader, writer = await here.connect()
            writer.write(GET % 7)
            writer.write_eof()
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await asyncio.sleep(0.3)  # past the next looks: what is tested is that nothing comes of them
            app.may_answer.set()
            assert (await reader.read(-1)).endswith(b"\r\n\r\n/7")
            writer.close()

    run(test)


def test_who_leaves_before_the_answer_is_noticed() -> None:
    async def test() -> None:
        app = Slow()
        async with listening(app) as here:
            _, writer = await here.connect()
            writer.write(GET % 7)
            while not app.begun:
                await asyncio.sleep(0)
            writer.close()
            await app.has_left.wait()

    run(test)


def test_who_speaks_http_1_0_and_closes_one_half_counts_as_gone_after_a_while() -> None:
    async def test() -> None:
        app = Slow()
        async with listening(app) as here:
            assert await here.talk(b"GET /7 HTTP/1.0\r\n\r\n", half_closes=True) == b""
            await app.has_left.wait()

    run(test)


def test_half_a_request_is_not_waited_for() -> None:
    async def test() -> None:
        app = Slow()
        async with listening(app) as here:
            head = b"POST /7 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
            assert await here.talk(head, half_closes=True) == b""
            assert await here.talk((GET % 7)[:9], half_closes=True) == b""

    run(test)
