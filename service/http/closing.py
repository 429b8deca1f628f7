"""The end of a connection: so that a client reads its last answer, and knows where it ends.

A system that closes a socket with unread bytes in it resets the connection, and the client may lose the answer that
it was just sent. So after an answer to a client that is still sending, only our half is closed; what it sends is
thrown away for a while, within bounds (`LingeringTransport`). An answer to HTTP/1.0 ends with the connection, since
such a client knows no chunks, and so does one that is given before the request is there as a whole (`answering`).

Knows no limits of requests. Reference: RFC 9112, sections 6.3 and 9.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

LINGER_SECONDS = 2.0
LINGER_BYTES = 256 << 10
_CLOSE = (b"connection", b"close")


class LingeringTransport(asyncio.Transport):
    """A transport that closes softly where the client may have more to say.

    Args:
        transport: what it stands for.
        is_sending: whether the client has sent, or owes us, more than we have read.
    """

    def __init__(self, transport: asyncio.Transport, is_sending: Callable[[], bool]) -> None:
        super().__init__()
        self._transport = transport
        self._is_sending = is_sending
        self._is_closing = False
        self._thrown_bytes = 0

    def close(self) -> None:
        """Ends the connection after what was written; nothing more can be."""
        if self.is_closing():
            return
        self._is_closing = True
        if not self._is_sending() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def throw_away(self, data: bytes) -> None:
        """Takes what came after the end."""
        self._thrown_bytes += len(data)
        if self._thrown_bytes > LINGER_BYTES:
            self._transport.close()

    def is_closing(self) -> bool:
        """Whether the end is decided."""
        return self._is_closing or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Sends, unless the end is decided."""
        if not self.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport knows it."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Reads no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        self._transport.resume_reading()


def answering(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """The application, its answer to this one request made to end with the connection where it must."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        is_old = cycle.scope["http_version"] == "1.0"
        is_unmeasured = False

        async def send_on(message: ASGISendEvent) -> None:
            nonlocal is_unmeasured
            if message["type"] == "http.response.start":
                if cycle.more_body:  # what of it is read, and what would be taken for the next request?
                    cycle.keep_alive = False
                headers = message.get("headers", ())
                is_unmeasured = is_old and all(name.lower() != b"content-length" for name, _ in headers)
                if is_unmeasured:
                    cycle.chunked_encoding = False
            elif is_unmeasured and message["type"] == "http.response.body":
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_on)

    return run


def close_after_answers(state: ServerState, headers: list[tuple[bytes, bytes]]) -> None:
    """Has every connection end with its next answer, or with the one under way; none is cut.

    Args:
        state: uvicorn's, of the server that drains.
        headers: those that its configuration adds to each answer.
    """
    if _CLOSE in headers:
        return
    headers.append(_CLOSE)
    state.default_headers = [*state.default_headers, _CLOSE]
    for connection in state.connections:
        if (cycle := getattr(connection, "cycle", None)) is not None:
            cycle.keep_alive = False
