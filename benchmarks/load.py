"""The load: who asks what and when, how long each waited, and the client that does it.

In the open loop arrivals are a Poisson process fixed in advance; a slow server does not slow them down, and a wait is
counted from the moment when a request was *due*, not when it was sent, so that a stalled generator cannot hide a wait
("coordinated omission"). What is asked is balanced: every nine requests hold each (steps, cfg) once.

The client is HTTP/1.1 (RFC 9112) on bare asyncio streams, a connection a request, as in an open loop every request is
another client: a general one costs the machine a millisecond of a core for each, this one a tenth.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, product
from typing import Any, TypeVar

STEPS = (10, 20, 50)
CFGS = (1.0, 1.5, 4.0)
BLOCK = len(STEPS) * len(CFGS)
S = TypeVar("S")
T = TypeVar("T")
HEAD_LIMIT_BYTES = 256 << 10
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def events(self) -> dict[str, Any] | None:
        """The JSON of the last server-sent event of each name; None where it is no stream of events."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return None
        blocks = self.body.decode().replace("\r\n", "\n").split("\n\n")
        return dict(event for event in map(event_of, blocks) if event is not None)


def event_of(block: str) -> tuple[str, Any] | None:
    """Name and JSON of a server-sent event, of the lines between two empty ones; None if they hold comments alone."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
    return (fields["event"], json.loads(fields["data"])) if "data" in fields else None


class NoAnswer(Exception):
    """The connection was refused, or ended before a whole answer had come."""


def request_bytes(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    fields = {"Content-Type": "application/json"} | dict(headers or {})
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def send(port: int, message: bytes, hear: Callable[[bytes], object] | None = None) -> Answer:
    """The answer to one request, read to its end.

    Args:
        port: on loopback.
        message: the whole request.
        hear: called with each piece of a body in chunks as it comes.

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
        return Answer(int(first.split(" ", 2)[1]), headers, await _read_body(reader, headers, hear))
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


async def _read_body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], hear: Callable[[bytes], object] | None
) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        size = headers.get("content-length")
        return await (reader.read() if size is None else reader.readexactly(int(size)))
    pieces = []
    while size_of := int((await reader.readline()).split(b";")[0] or b"0", 16):
        pieces.append((await reader.readexactly(size_of + 2))[:size_of])
        if hear is not None:
            hear(pieces[-1])
    await reader.readline()
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Ask:
    """One image that is asked for: the fields of the JSON that all the servers take."""

    class_id: int
    cfg: float
    steps: int
    seed: int

    @property
    def sequences(self) -> int:
        """Rows of the network's batch: two if guided."""
        return 1 if self.cfg == 1 else 2


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one request."""

    wait_seconds: float  # from the moment when it was due to the end of the answer
    answer: Answer | None  # None if none came

    @property
    def is_served(self) -> bool:
        return self.answer is not None and self.answer.status == 200

    @property
    def png(self) -> bytes:
        """The image, also out of an answer in JSON; empty where none came."""
        if self.answer is None or not self.is_served:
            return b""
        if self.answer.headers.get("content-type") == "application/json":
            return base64.b64decode(json.loads(self.answer.body)["data"][0]["b64_json"])
        return self.answer.body


def balanced_asks(count: int, source: random.Random, classes: int = 10) -> list[Ask]:
    """Requests of which every block of nine holds each (steps, cfg) once."""
    asks: list[Ask] = []
    while len(asks) < count:
        block = source.sample(list(product(STEPS, CFGS)), BLOCK)
        asks += [Ask(source.randrange(classes), cfg, steps, source.randrange(2**31)) for steps, cfg in block]
    return asks[:count]


def poisson_times(rate: float, count: int, source: random.Random) -> list[float]:
    """Seconds after the start at which requests arrive, `rate` a second on average."""
    return list(accumulate(source.expovariate(rate) for _ in range(count)))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1e6) // 1_000_000) - 1)]


def by_generate(ask: Ask) -> bytes:
    """The request as a client of ours makes it, and the peers take it; its answer is a PNG."""
    return request_bytes("POST", "/generate", json.dumps(asdict(ask)).encode(), {"Accept": "image/png"})


def by_openai(ask: Ask) -> bytes:
    """The same as OpenAI's SDK makes it; its answer is JSON with the PNG in base64."""
    fields = {name: value for name, value in asdict(ask).items() if name != "class_id"}
    body = {"prompt": str(ask.class_id), "response_format": "b64_json", **fields}
    return request_bytes("POST", "/v1/images/generations", json.dumps(body).encode(), {"Accept": "application/json"})


async def ask_one(port: int, ask: Ask, due: float, message_of: Callable[[Ask], bytes] = by_generate) -> Trace:
    """One request now, followed to its end."""
    message, answer = message_of(ask), None
    with contextlib.suppress(NoAnswer):
        answer = await send(port, message)
    return Trace(time.monotonic() - due, answer)


async def at_times(times: Sequence[float], begin: Callable[[int, float], Coroutine[Any, Any, T]]) -> list[T]:
    """What the tasks give that are begun at each of these times, in seconds from now, whatever became of others."""
    origin = time.monotonic()
    tasks = []
    for i, seconds in enumerate(times):
        if (early := origin + seconds - time.monotonic()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(begin(i, origin + seconds)))
    return list(await asyncio.gather(*tasks))


async def in_turn(count: int, work: Iterable[S], one: Callable[[S], Coroutine[Any, Any, T]]) -> list[T]:
    """What so many clients find that share the work, each taking the next as soon as it is done with the last."""
    waiting, found = iter(work), list[T]()

    async def client() -> None:
        for each in waiting:
            found.append(await one(each))

    await asyncio.gather(*(client() for _ in range(count)))
    return found
