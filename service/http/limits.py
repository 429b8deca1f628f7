"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: time to send a request and to read its answer, and size.

uvicorn waits for ever for the rest of a request line, header or body, and reads headers of any size.
Here a connection has `header_seconds` from its opening, or from the first byte of a later request,
until the last header, and then `body_seconds` for the body. Both count from the beginning, so that
sending a byte now and then gains nothing. Headers past `max_header_bytes` are refused with 431.
Between requests uvicorn's own keep-alive time-out rules. An answer, or what had piled up of it, that
is not read within `write_seconds` is given up and the connection reset. Of the requests that are sent
before earlier ones are answered only a few are parsed, and they are begun by turns (`service.http.fairness`).

Refusals made here never reach the application, so they are counted here. Knows no application.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dit_serve.service.http.fairness import MAX_PARSED_AHEAD, Ahead, Turns
from dit_serve.service.settings import HttpLimits
from dit_serve.service.telemetry.tally import Tally

_RESET = struct.pack("ii", 1, 0)  # linger for no time: what is unsent is dropped


class GuardedProtocol(HttpToolsProtocol):
    """One connection; see the module's text. The limits are set by `guarded_protocol`."""

    limits: HttpLimits
    tally: Tally
    turns: Turns

    flow: Ahead
    _unread: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None
    _is_reading_headers = False
    _is_too_large = False
    _is_answered = False  # within the call that starts the next request of this connection
    _unparsed_bytes = 0
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.flow = Ahead(transport)
        self._set_deadline(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._clear_deadline()
        self._clear_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; those before a request line (blank lines) start the clock too."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._set_deadline(self.limits.header_seconds)
        self.flow.hold(data)
        self._parse()

    def _parse(self) -> None:
        """Parses what was read, as far as the answers have not fallen behind; the clock of the rest stands still."""
        while self.flow.is_holding and len(self.pipeline) < MAX_PARSED_AHEAD and not self.transport.is_closing():
            piece = self.flow.next_slice()
            self._unparsed_bytes += len(piece)
            super().data_received(piece)
            # The parser keeps an unfinished header to itself, so the bytes that led to no callback count as well.
            if self._is_reading_headers and self._unparsed_bytes > self.limits.max_header_bytes:
                self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self.flow.is_holding:
            self.flow.pause_reading()
            self._clear_deadline()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_reading_headers = True
        self._header_bytes = 0
        if self.transport.get_write_buffer_size() == 0:  # the answer before was read
            self._clear_unread()
        if self._deadline is None:
            self._set_deadline(self.limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there; the body's time begins."""
        self._is_reading_headers = False
        self._set_deadline(self.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        self._clear_deadline()
        self._unparsed_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Too much waits to be read by the client."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        super().resume_writing()
        self._clear_unread()

    def on_response_complete(self) -> None:
        """An answer is written; what the system did not take at once is still ours."""
        self._is_answered = True
        super().on_response_complete()
        self._is_answered = False
        if self.flow.is_holding and not self.transport.is_closing():
            self.loop.call_soon(self._parse_on)
        if self.transport.get_write_buffer_size() > 0:
            self._expect_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begins the first request of a connection at once; one that waited for an answer, in its turn."""
        start = super()._start_asgi_task
        if self._is_answered:
            self.turns.add(lambda: None if self.transport.is_closing() else start(cycle, app))
        else:
            start(cycle, app)

    def _parse_on(self) -> None:
        """Parses more of what was read; a request that was begun has all of its time again."""
        if self.transport.is_closing():
            return
        if self._is_reading_headers:
            self._set_deadline(self.limits.header_seconds)
        elif self.cycle.more_body:
            self._set_deadline(self.limits.body_seconds)
        self._parse()
        if not self.pipeline:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuses what the parser could not read, or what was too large for us."""
        too_large = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._refuse(too_large if self._is_too_large else http.HTTPStatus.BAD_REQUEST)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.max_header_bytes:
            self._is_too_large = True
            raise ValueError("the headers are too large")  # the parser stops, and asks for send_400_response

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._refuse, http.HTTPStatus.REQUEST_TIMEOUT)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.write_seconds, self._give_up_writing)

    def _clear_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up_writing(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() > 0:
            # To close would wait for the client, and without the option the system itself would, for minutes.
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def _refuse(self, status: http.HTTPStatus) -> None:
        """Closes the connection, with a word about why unless an answer is under way already."""
        if self.transport.is_closing():
            return
        self._clear_deadline()
        if (self._unparsed_bytes or self._is_reading_headers) and self._may_answer():
            self._count_refusal(status)
            slug = status.phrase.lower().replace(" ", "-")
            body = f'{{"type": "urn:dit-serve:problem:{slug}", "title": "{status.phrase}", "status": {status.value}}}'
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode("ascii")
            )
        self.transport.close()

    def _count_refusal(self, status: http.HTTPStatus) -> None:
        """Counts one request; one that the application has begun with is counted there."""
        if self.cycle is None or self.cycle.response_complete:
            self.tally.received += 1
            self.tally.end(status.value)
        else:
            self.cycle.scope.setdefault("state", {})["ended_as"] = status.value

    def _may_answer(self) -> bool:
        """Whether no other answer is owed or under way on this connection: words in between would be taken for it."""
        if self.cycle is None or self.cycle.response_complete:
            return True
        return not self._is_reading_headers and not self.cycle.response_started


def guarded_protocol(http_limits: HttpLimits, counts: Tally) -> type[GuardedProtocol]:
    """The protocol class with these limits, that counts its refusals there."""

    class Guarded(GuardedProtocol):
        limits = http_limits
        tally = counts
        turns = Turns()

    return Guarded
