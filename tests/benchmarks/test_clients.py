"""R9: the account of requests finds every kind of difference."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.faults.clients import Seen, account, meaning
from benchmarks.load import Answer


def request(identity: str, status: int) -> dict[str, Any]:
    return {"event": "request", "path": "/generate", "request_id": identity, "status": status}


def started(job: int, identity: str) -> dict[str, Any]:
    return {"event": "job_started", "job_id": job, "request_id": identity}


def ended(job: int, identity: str, outcome: str = "completed") -> dict[str, Any]:
    return {"event": "job_end", "job_id": job, "request_id": identity, "outcome": outcome}


def test_each_end_is_counted_once() -> None:
    lines = [
        {"event": "request", "path": "/livez", "request_id": "probe", "status": 200},
        started(1, "a"), ended(1, "a"), request("a", 200),
        request("b", 429), request("c", 503), request("d", 422),
        started(2, "e"), ended(2, "e", "cancelled"), request("e", 499),
        started(3, "f"), ended(3, "f", "failed"), request("f", 200),
    ]
    statuses = {"a": 200, "b": 429, "c": 503, "d": 422, "f": 500}
    sent = [Seen(name, status) for name, status in statuses.items()] + [Seen("e", 0, has_left=True)]
    books = account(lines, sent)
    assert books.is_exact, books.differences
    assert books.received == 6
    assert books.ended == {"refused": 2, "invalid": 1, "completed": 1, "cancelled": 1, "failed": 1}


def test_a_client_that_left_before_it_was_heard_is_no_difference() -> None:
    assert account([], [Seen("a", 0, has_left=True)]).is_exact


@pytest.mark.parametrize(
    ("lines", "sent", "difference"),
    [
        ([], [Seen("a", 200)], "received 0 times"),
        ([request("a", 200), request("a", 200)], [Seen("a", 200)], "received 2 times"),
        ([request("a", 422)], [], "was not sent"),
        ([ended(1, "a"), request("a", 200)], [Seen("a", 0)], "the client saw 0"),
        ([ended(1, "a"), request("a", 200)], [Seen("a", 200, images=2)], "1 were made"),
        ([request("a", 429)], [Seen("a", 200)], "the server says refused"),
        ([started(1, "a"), request("a", 499)], [Seen("a", 0, has_left=True)], "ended 0 times"),
        ([ended(1, "a"), ended(1, "a"), request("a", 200)], [Seen("a", 200)], "ended 2 times"),
    ],
)
def test_a_difference_is_told(lines: list[dict[str, Any]], sent: list[Seen], difference: str) -> None:
    books = account(lines, sent)
    assert not books.is_exact
    assert any(difference in text for text in books.differences)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("image/png", b"", 200),
        ("text/event-stream", b"", 0),
        ("text/event-stream", b': alive\n\nevent: progress\ndata: {"step": 1}\n\n', 0),
        ("text/event-stream", b'event: progress\ndata: {}\n\nevent: completed\ndata: {"b64_png": ""}\n\n', 200),
        ("text/event-stream", b'event: failed\r\ndata: {"status": 504}\r\n\r\n', 504),
    ],
)
def test_a_stream_means_what_its_last_event_says(kind: str, body: bytes, status: int) -> None:
    assert meaning(Answer(200, {"content-type": kind}, body)) == status
