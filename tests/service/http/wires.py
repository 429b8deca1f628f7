"""The protocol without a system beneath it: thousands of connections a second, each as a client and a server see it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from dit_serve.service.http.connections import Connections
from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.telemetry.tally import Tally
from tests.service.http.listening import MANY
from tests.service.http.strict import Asked

QUIET_ROUNDS = 12  # of the loop in which nothing happens: then nothing more will
REST_ROUNDS = 4  # in which what came is parsed, and its application begun
Said = tuple[bytes, bool]  # and whether it was the end of the connection


class Unbroken:
    """As much of a socket as is looked at."""

    family = None

    def getsockopt(self, *_: int) -> int:
        return 0

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    getsockname = getpeername


class Wire(asyncio.Transport):
    """A connection without a system beneath it."""

    def __init__(self) -> None:
        super().__init__({"socket": Unbroken()})
        self.sent = b""
        self.is_paused = self.is_ended = self._is_closing = False
        self.protocol: GuardedProtocol

    def write(self, data: Any) -> None:
        assert not self.is_ended, "nothing is said after the end"
        self.sent += data

    def close(self) -> None:
        if not self._is_closing:
            self.is_ended = self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def write_eof(self) -> None:
        self.is_ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self.is_paused

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0


def echo(asked: Asked) -> bytes:
    """What the application says of a request."""
    path, _, query = asked.target.partition(b"?")
    tags = b",".join(asked.values(b"x-tag"))
    keys = b"%d" % len(asked.values(b"x-api-key"))
    return b"|".join((asked.method, path, query, tags, keys, hashlib.sha1(asked.body).hexdigest().encode()))


async def answer_with_echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked, with a length or without."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    fields = tuple((name, value.strip(b" \t")) for name, value in scope["headers"])
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    said = echo(Asked(scope["method"].encode(), target, b"", fields, body))
    headers = [(b"x-echo", said)]
    if len(body) % 2:
        headers.append((b"content-length", b"%d" % len(said)))
    for _ in range(len(body) % 4):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said[:5], "more_body": True})
    await send({"type": "http.response.body", "body": said[5:]})


class Server:
    """The protocol as the service uses it, around an application.

    Args:
        app: the one above, or another.
    """

    def __init__(self, app: Any = answer_with_echo) -> None:
        self.tally = Tally()
        self._kind = guarded_protocol(HttpLimits(), self.tally, Connections(MANY))
        self._config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
        self._config.load()
        self._state = ServerState()

    async def talk(self, pieces: Iterable[bytes], rests: Callable[[], bool], half_closes: bool = False) -> Said:
        """What it says to a client who sends this, and whether it ends the connection.

        Args:
            pieces: in which it comes.
            rests: whether the client waits a moment after a piece.
            half_closes: whether it closes its sending half in the end.
        """
        wire = Wire()
        wire.protocol = protocol = self._kind(config=self._config, server_state=self._state, app_state={})
        protocol.connection_made(wire)
        for piece in pieces:
            while wire.is_paused and not wire.is_closing():
                await asyncio.sleep(0)
            if wire.is_closing():
                break
            protocol.data_received(piece)
            for _ in range(REST_ROUNDS if rests() else 0):
                await asyncio.sleep(0)
        if half_closes and not wire.is_closing() and not protocol.eof_received():
            wire.close()
        await self._settle(wire)
        is_ended = wire.is_ended
        wire.close()
        await asyncio.sleep(0)
        return wire.sent, is_ended

    async def _settle(self, wire: Wire) -> None:
        quiet, said = 0, -1
        while quiet < QUIET_ROUNDS:
            quiet, said = (quiet + 1, said) if said == len(wire.sent) else (0, len(wire.sent))
            await asyncio.sleep(0)
