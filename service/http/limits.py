"""The protocol of a connection with the limits that uvicorn lacks: time to send a request and to read its answer.

uvicorn waits for ever for the rest of a request line, header or body, and reads headers of any size.
Here a connection has `header_seconds` from its opening, or from the first byte of a later request,
until the last header, and then `body_seconds` for the body. Both count from the beginning, so that
sending a byte now and then gains nothing. Between requests it may be idle for `keep_alive_seconds`.
An answer, or what had piled up of it, that is not read within `write_seconds` is given up and the
connection reset. Who closes one half of the connection after a request gets an answer; who leaves is
noticed (`service.http.leaving`). Sizes are bounded in `service.http.protocol`, where requests are parsed.

Knows no application.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus

from dit_serve.service.http.fairness import Turns
from dit_serve.service.http.leaving import HalfClosed
from dit_serve.service.http.protocol import StrictProtocol
from dit_serve.service.settings import HttpLimits
from dit_serve.service.telemetry.tally import Tally

_RESET = struct.pack("ii", 1, 0)  # linger for no time: what is unsent is dropped


class GuardedProtocol(StrictProtocol):
    """One connection; see the module's text. The limits are set by `guarded_protocol`."""

    _unread: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.timeout_keep_alive = self.limits.keep_alive_seconds  # type: ignore[assignment]
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
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; true keeps the connection for the answer to a whole request."""
        if not self.is_waited_for():
            return False
        HalfClosed(self.transport, self.may_interrupt, lambda: not self.is_waited_for())
        self.ends_with_answers = True
        return True

    def parse(self) -> None:
        """Parses what was read; the clock of what must wait stands still."""
        super().parse()
        if self.flow.is_holding or self._is_last:
            self._clear_deadline()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self.transport.get_write_buffer_size() == 0:  # the answer before was read
            self._clear_unread()
        if self._deadline is None:
            self._set_deadline(self.limits.header_seconds)

    def on_headers_complete(self) -> None:
        """All headers are there; the body's time begins."""
        super().on_headers_complete()
        self._set_deadline(self.limits.body_seconds)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        super().on_message_complete()
        self._clear_deadline()

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
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > 0:
            self._expect_reading()

    def parse_on(self) -> None:
        """Parses more of what was read; a request that was begun has all of its time again."""
        if self.transport.is_closing():
            return
        if self._is_reading_headers:
            self._set_deadline(self.limits.header_seconds)
        elif self._is_reading_body:
            self._set_deadline(self.limits.body_seconds)
        super().parse_on()

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._wire_bytes or self._is_reading_headers or self._is_reading_body:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()  # it has said nothing at all

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


def guarded_protocol(http_limits: HttpLimits, counts: Tally) -> type[GuardedProtocol]:
    """The protocol class with these limits, that counts its refusals there."""

    class Guarded(GuardedProtocol):
        limits = http_limits
        tally = counts
        turns = Turns()

    return Guarded
