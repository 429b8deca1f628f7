"""The clients of a soak: each asks for one thing after another, of every kind that there is, for as long as it lasts.

The images that they ask for are of one fixed set, so that each is asked for again and again in other company. Knows the
API, and nothing of the server behind it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks.faults.clients import CLIENT_LEFT, meaning
from benchmarks.load import LOOPBACK, Answer, NoAnswer, leave, request_bytes, send
from benchmarks.soak.seen import Seen, Stream
from dit_serve.models.checks import MAX_SEED

PATH = "/generate"
PNG, JSON, EVENTS = "image/png", "application/json", "text/event-stream"
SPECS = 100
LONG_STEPS, LATE_STEPS = 900, 400  # of requests that are given up, and of those with a deadline
DEADLINES_MS = (1, 30, 100, 300, 600, 900)
STAY_SECONDS = (0.02, 0.25)
MOST_PAUSE_SECONDS = 0.05  # between two requests of a client
LINGER_NOT = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds turns the close into a reset

Body = Mapping[str, object]
INVALID: tuple[tuple[bytes, Mapping[str, str], int], ...] = (
    (b'{"class_id": 99}', {}, 422),
    (b'{"class_id": 1, "steps": 0}', {}, 422),
    (b'{"class_id": 1, "n": 1000}', {}, 422),
    (b'{"class_id": 1, "seed": 9223372036854775808}', {}, 422),
    (b'{"class_id": 1, "colour": "red"}', {}, 422),
    (b'{"class_id": 1', {}, 400),
    (b"\xff\xfe", {}, 400),
    (b'{"class_id": 1}', {"Content-Type": "text/plain"}, 415),
    (b'{"class_id": 1}', {"Accept": "image/webp"}, 406),
)
PAGES = (("/v1/models", 200), ("/v1/classes?q=seven", 200), ("/livez", 200), ("/nowhere", 404))


def draw_specs(source: random.Random, count: int = SPECS) -> list[Body]:
    """So many requests for one image, of both sizes, every sampler, few and many steps, and seeds to the largest."""
    return [
        {
            "class_id": source.randrange(10),
            "cfg": source.choice((1, 1.5, 4, 7.5)),
            "steps": source.choice((1, 2, 5, 10, 20, 37)),
            "sampler": source.choice(("ddim", "ddpm", "dpm++")),
            "seed": source.choice((0, 1, 2**53 + 1, MAX_SEED, source.randint(0, MAX_SEED))),
            "resolution": source.choice((64, 64, 128)),
        }
        for _ in range(count)
    ]


class Clients:
    """All of them.

    Args:
        port: of the server, on loopback.
        specs: the images that are asked for.
        seen: where it is kept what they saw.
    """

    def __init__(self, port: int, specs: Sequence[Body], seen: Seen) -> None:
        self._port = port
        self._specs = specs
        self._seen = seen

    async def make_each_alone(self) -> None:
        """Every image of the set, with nothing beside it: what all later ones must equal."""
        for spec in range(len(self._specs)):
            await self._image(spec)

    async def ask_until(self, until: float, source: random.Random) -> None:
        """One client: asks at random until a moment of the monotonic clock."""
        kinds, weights = zip(*KINDS, strict=True)
        while time.monotonic() < until:
            [kind] = source.choices(kinds, weights)
            await kind(self, source)
            await asyncio.sleep(source.uniform(0, MOST_PAUSE_SECONDS))

    async def json(self, kind: str, body: Body, headers: Mapping[str, str] | None = None) -> Answer | None:
        """The answer to a body with headers of its own, not yet counted; None if none came."""
        return await self._send(kind, request_bytes("POST", PATH, json.dumps(body).encode(), headers))

    async def one(self, source: random.Random) -> None:
        """One image as PNG."""
        await self._image(source.randrange(len(self._specs)))

    async def several(self, source: random.Random) -> None:
        """Several images as JSON."""
        spec = source.randrange(len(self._specs))
        body = {**self._specs[spec], "n": source.choice((2, 3, 5))}
        answer = await self.json("several", body, {"Accept": JSON})
        if answer and self._seen.answer("several", PATH, answer.status, {200}):
            for index, image in enumerate(json.loads(answer.body)["images"]):
                self._seen.image("several", spec, index, base64.b64decode(image["b64_png"]))

    async def stream(self, source: random.Random) -> None:
        """One image or three as a stream, with and without looks at them."""
        spec, n = source.randrange(len(self._specs)), source.choice((1, 1, 3))
        body, stream = {**self._specs[spec], "n": n, "preview_every": source.choice((0, 1, 5))}, Stream()
        message = request_bytes("POST", PATH, json.dumps(body).encode(), {"Accept": EVENTS})
        answer = await self._send("stream", message, stream)
        if answer and self._seen.answer("stream", PATH, meaning(answer), {200}):
            for event in stream.of("completed"):
                self._seen.image("stream", spec, event.data["index"], base64.b64decode(event.data["b64_png"]))
            self._seen.times(stream)

    async def late(self, source: random.Random) -> None:
        """A long job with a deadline that it may miss, plain or as a stream."""
        headers = {"X-Deadline-Ms": str(source.choice(DEADLINES_MS)), "Accept": source.choice((PNG, EVENTS))}
        answer = await self.json("deadline", {**source.choice(self._specs), "steps": LATE_STEPS}, headers)
        if answer:
            self._seen.answer("deadline", PATH, meaning(answer), {200, 503, 504})

    async def invalid(self, source: random.Random) -> None:
        """A request that must be refused as it is."""
        body, headers, status = source.choice(INVALID)
        answer = await self._send("invalid", request_bytes("POST", PATH, body, headers))
        if answer:
            self._seen.answer("invalid", PATH, answer.status, {status})

    async def page(self, source: random.Random) -> None:
        """What is to be had without an image."""
        path, status = source.choice(PAGES)
        answer = await self._send("page", request_bytes("GET", path))
        if answer:
            self._seen.answer("page", path.partition("?")[0], answer.status, {status})

    async def leave_stream(self, source: random.Random) -> None:
        """A long stream whose reader resets the connection a while after its beginning."""
        await self._leave("left stream", source, EVENTS)

    async def leave(self, source: random.Random) -> None:
        """A long job whose client closes in order before there is an answer."""
        await self._leave("left", source, PNG)

    async def _image(self, spec: int) -> None:
        began = time.monotonic()
        answer = await self.json("image", self._specs[spec], {"Accept": PNG})
        if answer and self._seen.answer("image", PATH, answer.status, {200}):
            self._seen.image("image", spec, 0, answer.body)
            self._seen.waits.append((time.monotonic(), time.monotonic() - began))

    async def _leave(self, kind: str, source: random.Random, accept: str) -> None:
        """What the server has read is counted there; so who resets waits until its answer has begun."""
        body = json.dumps({**source.choice(self._specs), "steps": LONG_STEPS}).encode()
        message, stay = request_bytes("POST", PATH, body, {"Accept": accept}), source.uniform(*STAY_SECONDS)
        try:
            if accept == EVENTS:
                came = await _leave_begun(self._port, message, stay)
            else:
                came = await leave(self._port, message, stay, is_abrupt=False)
        except (OSError, EOFError) as error:
            self._seen.surprises.append(f"{kind}: {error!r}")
            return
        status = int(came.split(b" ", 2)[1]) if came else CLIENT_LEFT
        is_left = status == (200 if accept == EVENTS else CLIENT_LEFT)
        self._seen.answer(kind, PATH, CLIENT_LEFT if is_left else status, {CLIENT_LEFT})

    async def _send(self, kind: str, message: bytes, stream: Stream | None = None) -> Answer | None:
        try:
            return await (send(self._port, message, stream.hear) if stream else send(self._port, message))
        except NoAnswer as error:
            self._seen.surprises.append(f"{kind}: {error}")
            return None


async def _leave_begun(port: int, message: bytes, stay: float) -> bytes:
    """The head of an answer, some time after which its reader resets the connection."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(stay)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        return head
    finally:
        writer.close()


KINDS: tuple[tuple[Callable[[Clients, random.Random], Awaitable[None]], float], ...] = (  # with their weights
    (Clients.one, 50), (Clients.several, 10), (Clients.stream, 13), (Clients.late, 6), (Clients.invalid, 10),
    (Clients.page, 4), (Clients.leave_stream, 4), (Clients.leave, 3),
)
