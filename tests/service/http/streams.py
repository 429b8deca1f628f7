"""Reads a stream of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.service.running import Running

EVENTS = {"Accept": "text/event-stream"}
Event = tuple[str, dict[str, Any]]


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """The events in the lines of a stream; comments are left out."""
    name, data = "", ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data += line.removeprefix("data: ")
        elif not line and name:
            yield name, json.loads(data)
            name, data = "", ""


@contextmanager
def streaming(
    server: Running, body: dict[str, Any], **headers: str
) -> Iterator[tuple[httpx.Response, Iterator[Event]]]:
    """An open stream: its response and its events as they come."""
    with server.client() as client, client.stream("POST", "/generate", json=body, headers=EVENTS | headers) as response:
        yield response, parse(response.iter_lines())


def events_of(server: Running, body: dict[str, Any], **headers: str) -> list[Event]:
    """All events of a stream."""
    with streaming(server, body, **headers) as (response, events):
        assert response.status_code == 200, response.read()
        return list(events)
