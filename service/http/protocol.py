"""uvicorn's HTTP/1.1 protocol, strict about where a request ends and about the order of answers.

Whatever a connection sends, in whatever pieces, its answers are those of its requests, in order, up to the first one
that cannot be read. That one is refused in its turn, and the connection closed: what comes after it could be anything.
Nothing is read after a request that is the last by its own word, either. Of the requests that are sent before earlier
ones are answered only a few are parsed, and they are begun by turns (`service.http.fairness`). A trailer field is no
header, and an offer to change the protocol is ignored (`service.http.framing`).

Refusals made here never reach the application, so they are counted here. Knows no application and no time.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dit_serve.service.http.closing import LingeringTransport, answering
from dit_serve.service.http.fairness import MAX_PARSED_AHEAD, Ahead, Turns
from dit_serve.service.http.framing import fault_of, head_again, refusal, without_offer
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.telemetry.tally import Tally

WIRE_FACTOR = 8  # bytes sent for one of a body: in chunks of one byte each, with some of a chunk's own words, it is six
MAX_IGNORED_BYTES = 64 << 10  # read after the last request, to notice when the client leaves


class StrictProtocol(HttpToolsProtocol):
    """One connection; see the module's text. Its limits are set by whoever makes the class."""

    limits: HttpLimits
    tally: Tally
    turns: Turns

    flow: Ahead
    transport: LingeringTransport
    ends_with_answers = False  # the client sends no more
    _running: RequestResponseCycle | None = None  # the request that is being answered
    _is_begun = False  # by the application
    _is_answered = False  # within the call that starts the next request of this connection
    _is_reading_headers = False
    _is_reading_body = False
    _is_parsed_again = False  # within the head of an offer to change the protocol
    _is_last = False  # nothing that follows is a request
    _owed: HTTPStatus | None = None  # a refusal that waits for the answers before it
    _fault = HTTPStatus.BAD_REQUEST  # what an unreadable request is refused with
    _wire_bytes = 0  # since the last request, or since the headers of this one
    _header_bytes = 0
    _ignored_bytes = 0
    _log = logging.getLogger("dit.request")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.transport = LingeringTransport(transport, self._is_client_sending)
        self.flow = Ahead(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._tell_application()  # uvicorn tells the newest request alone

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.transport.is_closing():
            self.transport.throw_away(data)
        elif self._is_last:
            self._ignored_bytes += len(data)
            if self._ignored_bytes > MAX_IGNORED_BYTES:
                self.flow.pause_reading()
        else:
            self.flow.hold(data)
            self.parse()

    def parse(self) -> None:
        """Parses what was read, as far as the answers have not fallen behind."""
        while self.flow.is_holding and len(self.pipeline) < MAX_PARSED_AHEAD:
            piece = self.flow.next_slice()
            self._wire_bytes += len(piece)
            self._feed(piece)
            if self._is_last or self.transport.is_closing():
                self._ignored_bytes += self.flow.drop()
            else:
                self._bound_wire_bytes()
        if self.flow.is_holding:
            self.flow.pause_reading()
        elif self.ends_with_answers and self._is_reading() and not self._is_last:  # the rest will not come
            self.transport.close()

    def _bound_wire_bytes(self) -> None:
        """Refuses too much of what leads to no callback: the parser keeps an unfinished header or chunk to itself."""
        if self._is_reading_body:
            if self._wire_bytes > WIRE_FACTOR * self.limits.max_body_bytes:
                self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._wire_bytes > self.limits.max_header_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _feed(self, piece: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._is_parsed_again = True
            again = head_again(self.parser.get_http_version(), self.parser.get_method(), self.headers)
            self.headers[:] = without_offer(self.headers)
            self.parser = httptools.HttpRequestParser(self)  # the other one may read on, or take all for closed
            self._feed(again + piece[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._is_last:
                fields = {"event": "invalid_request", "status": self._fault.value}
                self._log.warning("invalid HTTP request", extra={"fields": fields})
                self.refuse(self._fault)

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._is_parsed_again:
            return
        if self._is_last:
            raise ValueError("no request may follow")  # the parser stops
        super().on_message_begin()
        self._is_reading_headers = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        if not self._is_parsed_again:
            self._count(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header, or a trailer field: those are counted and not kept (RFC 9110, section 6.5.1)."""
        if not self._is_parsed_again:
            self._count(len(name) + len(value) + len(b": \r\n"))
            if self._is_reading_headers:
                super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        version = self.parser.get_http_version()
        if not self._is_parsed_again:
            if fault := fault_of(version, self.parser.get_method(), self.url, self.headers):
                self._fault = fault
                raise ValueError(fault.phrase)  # the parser stops
            if self.parser.should_upgrade():
                return
        self._is_parsed_again = False
        self.expect_100_continue &= version != "1.0"
        super().on_headers_complete()
        self._is_reading_headers, self._is_reading_body = False, True
        self._wire_bytes = 0

    def on_message_complete(self) -> None:
        """The request is there as a whole, or the head of an offer."""
        if not self._is_reading_body:
            return
        self._is_reading_body = False
        self._wire_bytes = 0
        self.cycle.waiting_for_100_continue = False
        super().on_message_complete()
        # The parser knows of a `Connection: close` in the trailers, and reads no more after it.
        self.cycle.keep_alive = self.cycle.keep_alive and self.parser.should_keep_alive()
        self._is_last = not self.cycle.keep_alive

    def on_response_complete(self) -> None:
        """An answer is written."""
        if self.flow.is_holding and not self.transport.is_closing():
            self.loop.call_soon(self.parse_on)
        self._is_answered = True
        super().on_response_complete()
        self._is_answered = False
        self._refuse_in_turn()
        if self.ends_with_answers and not self.pipeline and not self.flow.is_holding and not self._is_running():
            self.transport.close()

    def parse_on(self) -> None:
        """Parses more of what was read."""
        if not self.transport.is_closing():
            self.parse()
            if not self.pipeline:
                self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has been idle for long; one with half a request has a time of its own."""
        if not self._is_reading():
            super().timeout_keep_alive_handler()

    def refuse(self, status: HTTPStatus) -> None:
        """Reads no further, and says why in the turn of the request that is being read, unless it is being answered."""
        if self.transport.is_closing() or self._is_last:
            return
        self._is_last = True
        if self._is_reading_body and self._running is self.cycle and self._is_begun:
            if not self.cycle.response_started:
                self.cycle.scope.setdefault("state", {})["ended_as"] = status.value
                self._end_with(status)
            return
        if self._is_reading_body and self.pipeline:  # it is known, and waits for its turn
            self.pipeline.popleft()
        elif self._is_reading_body:
            self._running = None
        self.tally.received += 1
        self.tally.end(status.value)
        self._owed = status
        self._refuse_in_turn()

    def is_waited_for(self) -> bool:
        """Whether a request is there as a whole, and nothing of its answer yet."""
        if self.transport.is_closing() or self._running is None or self._running.response_started:
            return False
        return self._is_last or self.flow.is_holding or not self._is_reading()

    def may_interrupt(self) -> bool:
        """Whether an interim answer can be sent."""
        return self.is_waited_for() and self._running is not None and self._running.scope["http_version"] == "1.1"

    def _is_reading(self) -> bool:
        return self._is_reading_headers or self._is_reading_body

    def _is_running(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _refuse_in_turn(self) -> None:
        if self._owed is not None and not self.pipeline and not self._is_running():
            self._end_with(self._owed)

    def _end_with(self, status: HTTPStatus) -> None:
        self.transport.write(refusal(status))
        self.transport.close()
        self._tell_application()

    def _tell_application(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begins the first request of a connection at once; one that waited for an answer, in its turn."""
        start = super()._start_asgi_task
        self._running, self._is_begun = cycle, False

        def begin() -> None:
            if not self.transport.is_closing() and self._running is cycle:
                self._is_begun = True
                start(cycle, answering(cycle, app))

        if self._is_answered:
            self.turns.add(begin)
        else:
            begin()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.max_header_bytes:
            self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("the headers are too large")  # the parser stops

    def _is_client_sending(self) -> bool:
        return self._is_reading() or self.flow.is_holding or self._ignored_bytes > 0
