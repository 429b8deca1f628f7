"""More clients than there are places for: probes are answered, work is not lost, and the others are told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from dit_serve.service.http import connections as rules
from dit_serve.service.http.connections import Bounds
from tests.service.http.listening import Listening, listening, run
from tests.service.http.test_server import fail_to_start
from tests.service.running import PATIENCE_SECONDS, fake_command, running

FEW = Bounds(4, 4, 2)
HEAD = b" HTTP/1.1\r\nHost: x\r\n"
PROBE = b"GET /livez" + HEAD + b"\r\n"
WORK = b"GET /work" + HEAD + b"\r\n"
HALF = b"POST /work" + HEAD + b"Content-Length: 9\r\n\r\n{"


class Application:
    """Answers probes at once, and everything else when it is there and may be answered."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        if scope["path"] != "/livez":
            self.begun += 1
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def probe(here: Listening) -> bytes:
    """The answer to a probe on a connection of its own."""
    reader, writer = await here.connect()
    writer.write(PROBE)
    said = await reader.readuntil(b"ok")
    writer.close()
    return said


@pytest.mark.parametrize("start", [b"", PROBE, HALF, WORK[:9]], ids=["silent", "idle", "half body", "half head"])
def test_a_probe_is_answered_among_many_that_only_keep_their_connections(start: bytes) -> None:
    async def test() -> None:
        async with listening(Application(), FEW) as here:
            clients = [await here.connect() for _ in range(30)]
            for _, writer in clients:
                writer.write(start)
            for _ in range(10):
                assert (await probe(here)).startswith(b"HTTP/1.1 200 ")
                assert len(here.connections) <= FEW.in_all + FEW.surplus
            assert sum(here.connections.closed.values()) > 0
            for _, writer in clients:
                writer.close()

    run(test)


def test_where_all_are_answered_a_probe_is_too_and_others_are_told_to_come_back() -> None:
    async def test() -> None:
        app = Application()
        async with listening(app, FEW) as here:
            busy = [await here.connect() for _ in range(FEW.in_all)]
            for _, writer in busy:
                writer.write(WORK)
            while app.begun < len(busy):
                await asyncio.sleep(0)
            for _ in range(5):
                assert (await probe(here)).startswith(b"HTTP/1.1 200 ")
                said = await here.talk(WORK)
                assert said.startswith(b"HTTP/1.1 503 ")
                assert b"urn:dit-serve:problem:too-many-connections" in said
                for header in (b"retry-after: 1\r\n", b"connection: close\r\n", b"x-request-id: "):
                    assert header in said.lower()
            assert here.connections.closed["refused"] == here.tally.answered["other", 503, ""] == 5
            app.may_answer.set()
            for reader, writer in busy:
                assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
                writer.close()
            assert (await here.talk(WORK, half_closes=True)).startswith(b"HTTP/1.1 200 ")

    run(test)


def test_a_request_that_stands_still_is_refused_for_a_newcomer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PATIENCE_SECONDS", 0.0)

    async def test() -> None:
        async with listening(Application(), FEW) as here:
            slow = [await here.connect() for _ in range(FEW.in_all)]
            for _, writer in slow:
                writer.write(WORK[:9])
            while here.connections.closed["slow"] == 0:
                await probe(here)
            said = await slow[0][0].read(-1)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"too-many-connections" in said
            assert here.tally.answered["other", 503, ""] == here.connections.closed["slow"]
            for _, writer in slow:
                writer.close()

    run(test)


def test_an_answer_that_nobody_reads_is_given_up_for_a_newcomer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PATIENCE_SECONDS", 0.0)

    async def long(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/livez":
            await Application()(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(300):  # more than the systems at both ends hold
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})

    async def test() -> None:
        async with listening(long, FEW) as here:
            with ExitStack() as opened:
                for _ in range(FEW.in_all):
                    deaf = opened.enter_context(socket.socket())
                    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    deaf.connect(("127.0.0.1", here.port))
                    deaf.sendall(WORK)
                while here.connections.closed["unread"] == 0:
                    await probe(here)

    run(test)


def test_a_flood_takes_no_descriptor_of_a_worker_or_a_probe() -> None:
    command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *fake_command()]
    with running(command) as server, ExitStack() as opened, server.client() as client:
        for _ in range(100):
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS))
        assert client.get("/livez").status_code == 200
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_until_ready()
        assert client.get("/readyz").status_code == 200
        assert client.post("/generate", json={"class_id": 1, "steps": 1}).status_code == 200
        (full,) = server.find("connections_full")
        assert (full["level"], full["closed"]) == ("warning", 1)
        assert server.terminate() == 0


@pytest.mark.parametrize(("limit", "flags"), [("40", ()), ("100", ("--max-connections", "90"))])
def test_too_few_descriptors_end_the_start_with_a_sentence(limit: str, flags: tuple[str, ...]) -> None:
    command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *fake_command(*flags)]
    assert f"{limit} open files are allowed" in fail_to_start(command)
