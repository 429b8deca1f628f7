"""Tells a client that has left from one that has sent all it wanted and still reads.

Both close their half of the connection, and the system cannot tell which it was. A client that has left answers
anything that is sent to it with a reset; so it is sent an interim answer, "100 Continue", which any client of HTTP/1.1
must be ready to skip (RFC 9110, section 15.2). Most answers are there before it comes to that.

Knows sockets, and no requests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

FIRST_LOOK_SECONDS = 0.25
LOOK_SECONDS = 0.1
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """Watches a client that sends no more, until its connection is closed.

    Args:
        transport: to the client.
        may_interrupt: whether an interim answer may be sent now.
        is_begun: whether some of the answer was sent, to which the system of a client that has left says no.
    """

    def __init__(
        self, transport: asyncio.Transport, may_interrupt: Callable[[], bool], is_begun: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._may_interrupt = may_interrupt
        self._is_begun = is_begun
        self._has_asked = False
        self._look_in(FIRST_LOOK_SECONDS)

    def _look_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        if self._has_left():
            self._transport.abort()
            return
        if not self._has_asked and self._may_interrupt():
            self._has_asked = True
            self._transport.write(_INTERIM)
        self._look_in(LOOK_SECONDS)

    def _has_left(self) -> bool:
        connection = self._transport.get_extra_info("socket")
        has_reset = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        cannot_know = not (self._has_asked or self._may_interrupt() or self._is_begun())
        return has_reset or cannot_know
