"""The protocol of a connection with the limits that uvicorn lacks: time to send a request and to read its answer.

uvicorn waits for ever for the rest of a request line, header or body, and reads headers of any size.
Here a connection has `header_seconds` from its opening, or from the first byte of a later request,
until the last header, and then `body_seconds` for the body. Both count from the beginning, so that
sending a byte now and then gains nothing. Between requests it may be idle for `keep_alive_seconds`.
An answer, or what had piled up of it, that is not read within `write_seconds` is given up and the
connection reset. Who closes one half of the connection after a request gets an answer; who leaves is
noticed (`service.http.leaving`). Sizes are bounded in `service.http.protocol`, where requests are parsed. What a
connection does, and how it makes room for another one, is told here (`service.http.connections`).

Knows no application.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from dit_serve.service.http.connections import Connections, Doing
from dit_serve.service.http.fairness import Turns
from dit_serve.service.http.leaving import HalfClosed
from dit_serve.service.http.protocol import StrictProtocol
from dit_serve.service.http.surplus import surplus_app
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.telemetry.tally import Tally

_RESET = struct.pack("ii", 1, 0)  # linger for no time: what is unsent is dropped


class GuardedProtocol(StrictProtocol):
    """One connection; see the module's text. The limits are set by `guarded_protocol`."""

    places: Connections

    _is_made = False
    _unread: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None
    _received_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._is_made = True
        self.timeout_keep_alive = self.limits.keep_alive_seconds  # type: ignore[assignment]
        self._set_deadline(self.limits.header_seconds)
        self.places.changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._clear_deadline()
        self._clear_unread()
        super().connection_lost(exc)
        self.places.left(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; those before a request line (blank lines) start the clock too."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._set_deadline(self.limits.header_seconds)
        self._received_bytes += len(data)
        super().data_received(data)
        self.places.changed(self)

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
        if not self.has_unsent():  # the answer before was read
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
        self.places.changed(self)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        super().resume_writing()
        self._clear_unread()
        self.places.changed(self)

    def on_response_complete(self) -> None:
        """An answer is written; what the system did not take at once is still ours."""
        super().on_response_complete()
        if self.has_unsent():
            self._expect_reading()
        self.places.changed(self)

    def parse_on(self) -> None:
        """Parses more of what was read; a request that was begun has all of its time again."""
        if self.transport.is_closing():
            return
        if self._is_reading_headers:
            self._set_deadline(self.limits.header_seconds)
        elif self._is_reading_body:
            self._set_deadline(self.limits.body_seconds)
        super().parse_on()
        self.places.changed(self)

    def doing(self) -> Doing:
        """What the connection does now."""
        if not self._is_made:
            return Doing.ANSWERING  # it cannot be ended yet
        if self.transport.is_closing():
            return Doing.LEAVING
        if self._unread is not None and self.has_unsent():
            return Doing.UNREAD
        if self._running is not None and self._is_running():
            return Doing.READING if self._running.more_body else Doing.ANSWERING
        if self._is_reading() or self._wire_bytes:
            return Doing.READING
        is_asked = self.cycle is not None
        if is_asked and "has_jobs" in self.cycle.scope["state"]:
            return Doing.SERVED
        return Doing.IDLE if is_asked else Doing.SILENT

    def progress(self) -> int:
        """Grows by each byte that came, and by each that was read of what had waited."""
        return self._received_bytes - self.transport.get_write_buffer_size() if self._is_made else 0

    def has_unsent(self) -> bool:
        """Whether some of an answer waits to be sent."""
        return self.transport.get_write_buffer_size() > 0

    def make_room(self) -> None:
        """Ends the connection for another one; what is idle by closing it, half a request with a refusal."""
        doing = self.doing()
        if doing is Doing.READING:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        elif doing in (Doing.SILENT, Doing.IDLE, Doing.SERVED):
            self.transport.close()
        else:
            self._reset()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        is_surplus = self.places.is_surplus(self)
        super()._start_asgi_task(cycle, surplus_app(app, self.places, self.tally) if is_surplus else app)

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
        self.places.changed(self)

    def _expect_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.write_seconds, self._give_up_writing)

    def _clear_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up_writing(self) -> None:
        self._unread = None
        if self.has_unsent():
            self._reset()

    def _reset(self) -> None:
        """Ends the connection at once: to close would wait for the client to read."""
        if self.has_unsent():  # without the option the system itself would wait, for minutes
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


def guarded_protocol(http_limits: HttpLimits, counts: Tally, connections: Connections) -> type[GuardedProtocol]:
    """The protocol class with these limits, that counts its refusals and tells what it does there."""

    class Guarded(GuardedProtocol):
        limits = http_limits
        tally = counts
        turns = Turns()
        places = connections

    return Guarded
