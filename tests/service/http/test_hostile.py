"""Tens of thousands of hostile requests: no 5xx but the documented 503, no undocumented status, and every one counted.

Most of them are asked of the application itself, some thousands come as raw bytes through a socket. A seed
makes them, so a failure can be seen again. `HOSTILE_TIMES` multiplies their number, for a long run by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_serve.service.errors import Problem
from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.http.reading import choose, read_form
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Verdict, verdict_of
from dit_serve.service.wire.messages import Configure
from dit_serve.service.workers.worker import worker_command
from tests.service.asgi import ask
from tests.service.http.documented import Documented, check
from tests.service.http.hostile import DOCUMENTED, OF_THE_PROTOCOL, Hostile, hostile_request, raw_request
from tests.service.http.hostile_clients import hostile_client
from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

TIMES = int(os.environ.get("HOSTILE_TIMES", "1"))
SEED = int(os.environ.get("HOSTILE_SEED", "20"))  # several processes at once want different requests
ASKED = 48_000 * TIMES
OURS = 0.4  # share of the requests that are made by /generate, or of no protocol at all
AT_ONCE = 64
RAW = 2_500 * TIMES
RAW_AT_ONCE = 250
STATUS = re.compile(rb"\AHTTP/1\.1 (\d{3}) ")


def with_app(test: Callable[[FastAPI], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on the application of a service with a real worker."""

    async def run() -> None:
        configure = Configure(models=("fake-64", "fake-128"), max_batch_sequences=64)
        front = Front(worker_command("tests.service.http.hostile:load"), configure, max_queue_sequences=256)
        app = create_app(front, read_settings({}, {}))
        front.start()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not front.readiness.is_ready:
                    await asyncio.sleep(0)
            await test(app)
            assert len(front.ledger) == 0
            ends = front.ledger.counters
            assert ends.accepted == sum(ends.ended.values())
        finally:
            await front.stop()

    asyncio.run(run())


def test_hostile_requests_are_all_answered_as_documented_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(SEED)
    statuses: Counter[int] = Counter()
    served: Counter[str] = Counter()

    async def one(app: FastAPI, request: Hostile, documented: Documented) -> None:
        body = pieces(request.body, source)
        answer = await ask(app, request.method, request.path, request.headers, body, query=request.query)
        check(request, answer, documented)
        statuses[answer.status] += 1
        if answer.status == 200:
            served[documented.operation(request.method, unquote(request.path))] += 1

    async def test(app: FastAPI) -> None:
        documented = Documented(app.openapi())
        for _ in range(ASKED // AT_ONCE):
            await asyncio.gather(*(one(app, hostile(source), documented) for _ in range(AT_ONCE)))
        tally = app.state.tally
        assert (tally.received, tally.under_way) == (sum(statuses.values()), 0)
        log = Counter({verdict: 0 for verdict in Verdict})
        for status, count in statuses.items():
            log[verdict_of(status)] += count
        assert tally.ended == dict(log)
        assert {200, 304, 400, 404, 405, 406, 413, 415, 422} <= statuses.keys()  # or they were not varied enough
        assert documented.operations <= served.keys()

    with_app(test)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []  # in midst of a body


def hostile(source: random.Random) -> Hostile:
    """A request of our own protocol or of another."""
    return hostile_request(source) if source.random() < OURS else hostile_client(source)


def pieces(body: bytes, source: random.Random) -> list[bytes]:
    """A body as one piece, or cut into some, or into single bytes."""
    size = source.choice((len(body), len(body), 1000, 6, 1)) if len(body) < 2000 else 4096
    return [body[at : at + size] for at in range(0, len(body), max(1, size))] or [b""]


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
Fields = st.fixed_dictionaries(
    {"class_id": Json},
    optional=dict.fromkeys(
        ("class", "cfg", "steps", "seed", "model", "resolution", "sampler", "n", "deadline_ms", "preview_every"), Json
    ),
)


@settings(max_examples=800 * TIMES)
@given(st.binary(max_size=300) | (Fields | Json).map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_request_or_a_short_problem(body: bytes) -> None:
    assert len(detail_of(body)) < 1500


def detail_of(body: bytes) -> str:
    """What is wrong with a body, "" if nothing is."""
    try:
        if (form := read_form(body)).faults:
            choose(form, {})
    except Problem as problem:
        return problem.detail
    return ""


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":1' % k for k in range(1600)) + b"}",
        b'{"class_id":' + b"[" * 16_000,
        b'{"class_id":' + b"9" * 16_000 + b"}",
        b'{"class_id":1,"seed":' + b"9" * 4_300 + b"}",
        b'{"class_id": "' + b"\\u0041" * 2_600 + b'"}',
        b'{"class_id":1,' * 1100,
        b'{"sampler": [' + b"1," * 8_000 + b"1]}",
        b'{"cfg": 0.' + b"1" * 16_000 + b"}",
    ],
)
def test_no_body_keeps_the_event_loop_or_gets_a_long_answer(body: bytes) -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        detail = detail_of(body)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
    assert 0 < len(detail) < 1500


@pytest.fixture
def server() -> Iterator[Running]:
    limits = ("--header-seconds", "0.5", "--body-seconds", "0.5", "--write-seconds", "2", "--keep-alive-seconds", "1")
    command = fake_command(*limits)
    command[2] = "tests.service.http.serve_hostile"
    with running(command) as server:
        yield server


def test_raw_bytes_are_all_answered_as_documented_and_counted(server: Running) -> None:
    source = random.Random(SEED + 1)
    port = int(server.url.rsplit(":", 1)[1])
    statuses: Counter[int] = Counter()

    async def one(data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            async with asyncio.timeout(PATIENCE_SECONDS):
                said = await reader.read(-1)
        except ConnectionError:
            said = b""  # refused before it had sent everything
        finally:
            writer.close()
        if found := STATUS.match(said):
            statuses[int(found[1])] += 1
            assert int(found[1]) in DOCUMENTED | OF_THE_PROTOCOL, (data, said)
        else:
            assert said == b"", (data, said)

    async def all_of_them() -> None:
        for _ in range(RAW // RAW_AT_ONCE):
            await asyncio.gather(*(one(raw_request(hostile(source), source)) for _ in range(RAW_AT_ONCE)))

    asyncio.run(all_of_them())
    with server.client() as client:
        assert client.get("/readyz").status_code == 200
    assert server.terminate() == 0
    (tally,) = [line for line in server.seen if line.get("event") == "tally"]
    assert tally["received"] == sum(tally[verdict.value] for verdict in Verdict)
    assert (tally["under_way"], tally["failed"]) == (0, 0)
    assert tally["received"] >= sum(statuses.values())
    assert {200, 400, 408, 422, 431} <= statuses.keys()
    assert not [line for line in server.seen if "traceback" in line or line.get("is_raw")]
