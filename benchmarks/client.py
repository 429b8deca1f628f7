"""A small HTTP/1.1 client on bare asyncio streams: the load must not cost the machine what the server needs.

One connection a request, because in an open loop every request is another client. A general client costs about a
millisecond of a core for each request; this one about a tenth. A server is a port of 127.0.0.1. Knows no load.

References: RFC 9112 (HTTP/1.1), the WHATWG's "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEAD_LIMIT_BYTES = 256 << 10
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def events(self) -> dict[str, Any]:
        """The JSON of the last server-sent event of each name; none where it is no stream of events."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return {}
        events = {}
        for block in self.body.decode().replace("\r\n", "\n").split("\n\n"):
            event = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
            if "data" in event:
                events[event["event"]] = json.loads(event["data"])
        return events


class NoAnswer(Exception):
    """The connection was refused, or ended before a whole answer had come."""


def request_bytes(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    fields = {"Content-Type": "application/json"} | dict(headers or {})
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def send(port: int, message: bytes) -> Answer:
    """The answer to one request, read to its end.

    Raises:
        NoAnswer: see there.
    """
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=HEAD_LIMIT_BYTES)
    except OSError as error:
        raise NoAnswer(f"no connection: {error}") from error
    try:
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split(" ", 2)[1]), headers, await _read_body(reader, headers))
    except (OSError, EOFError) as error:
        raise NoAnswer(f"the connection ended early: {error!r}") from error
    finally:
        writer.close()


async def get(port: int, path: str) -> Answer:
    return await send(port, request_bytes("GET", path))


async def leave(port: int, message: bytes, after_seconds: float, *, is_abrupt: bool) -> bytes:
    """What came until the client went away after a while: with a reset if abrupt, else with an orderly close."""
    came = b""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(message)
        with contextlib.suppress(TimeoutError):
            came = await asyncio.wait_for(reader.read(HEAD_LIMIT_BYTES), after_seconds)
    finally:
        if is_abrupt:  # SO_LINGER of 0 seconds turns the close into a reset
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
    return came


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        size = headers.get("content-length")
        return await (reader.read() if size is None else reader.readexactly(int(size)))
    pieces = []
    while size_of := int((await reader.readline()).split(b";")[0] or b"0", 16):
        pieces.append((await reader.readexactly(size_of + 2))[:size_of])
    await reader.readline()
    return b"".join(pieces)
