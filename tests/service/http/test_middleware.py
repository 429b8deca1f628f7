"""What the middleware does where no route can show it: an error that nothing else caught."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dit_serve.service.errors import QueueFull
from dit_serve.service.http.middleware import RequestMiddleware, request_id_of
from dit_serve.service.http.problems import problem_response
from dit_serve.service.telemetry.tally import Tally, Verdict

ASKED: Scope = {"type": "http", "path": "/generate", "method": "POST"}


async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a secret")


async def breaks_in_its_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("a secret")


def get(app: ASGIApp) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(RequestMiddleware(app, Tally()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/path", headers={"X-Request-Id": "an-id"})

    return asyncio.run(ask())


def test_an_unexpected_error_is_a_500_that_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    response = get(breaks)
    assert response.status_code == 500
    assert response.json()["type"] == "urn:dit-serve:problem:internal-error"
    assert response.headers["x-request-id"] == "an-id"
    assert "secret" not in response.text
    assert "a secret" in caplog.text  # the log has it


def test_an_answer_under_way_is_not_answered_twice(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(RequestMiddleware(breaks_in_its_answer, Tally())(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start"]  # the server then closes the connection
    assert "a secret" in caplog.text


def test_who_is_still_waiting_when_the_server_ends_is_told_so_in_our_form() -> None:
    sent: list[Message] = []

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        asking = asyncio.ensure_future(RequestMiddleware(waits, Tally())(scope, receive, send))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    asyncio.run(run())
    assert sent[0]["status"] == 503
    assert b"shutting-down" in sent[1]["body"]


def test_made_ids_differ() -> None:
    assert request_id_of(None) != request_id_of(None)


async def ends_as_504(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["ended_as"] = 504
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def is_left(scope: Scope, receive: Receive, send: Send) -> None:
    return


@pytest.mark.parametrize(
    ("app", "verdict"), [(breaks, Verdict.FAILED), (ends_as_504, Verdict.FAILED), (is_left, Verdict.CANCELLED)]
)
def test_every_request_is_counted_once(app: ASGIApp, verdict: Verdict) -> None:
    tally = Tally()

    async def send(message: Message) -> None:
        pass

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(RequestMiddleware(app, tally)(scope, receive, send))
    assert (tally.received, tally.under_way, tally.ended[verdict]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, ("1", "1")), (0.0001, ("1", "1")), (0.0421, ("1", "43")), (2, ("2", "2000")), (2.3, ("3", "2300"))],
)
def test_when_to_come_back_is_told_in_seconds_and_in_milliseconds(seconds: float, told: tuple[str, str]) -> None:
    headers = problem_response(QueueFull(retry_after=seconds), ASKED, "an-id").headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == told


def test_who_need_not_come_back_is_told_no_time() -> None:
    assert not {"retry-after", "retry-after-ms"} & set(problem_response(QueueFull(), ASKED, "an-id").headers)
