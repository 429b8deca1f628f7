"""Accepts connections, one by one, as far as there are places for them.

The event loops accept all that wait at once, before a single connection is told of: that would be more than the
process has descriptors for. Here each is counted before the next one is accepted, so what is beyond the bounds waits
in the system, for at most as long as it takes to close another. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence

from dit_serve.service.http.connections import Connections, peer_of
from dit_serve.service.http.limits import GuardedProtocol

AT_ONCE = 16  # before the loop goes on with what is connected
PAUSE_SECONDS = 0.05  # where nobody makes room, or the system has no descriptor
_NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts on some sockets until it is closed. Made inside a running event loop.

    Args:
        listeners: the sockets; whoever opened them closes them.
        make: makes a connection's protocol.
        connections: where they are counted.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], make: Callable[[], GuardedProtocol], connections: Connections
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._make = make
        self._connections = connections
        self._connecting: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        for listener in listeners:
            listener.setblocking(False)
            self._listen(listener)

    def close(self) -> None:
        """Accepts no more."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            if listener in self._pauses:
                self._pauses.pop(listener).cancel()

    def _listen(self, listener: socket.socket) -> None:
        self._pauses.pop(listener, None)
        self._loop.add_reader(listener, self._accept, listener)

    def _pause(self, listener: socket.socket) -> None:
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(PAUSE_SECONDS, self._listen, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if self._connections.are_full:
                if not self._connections.push_out() and not self._connecting:
                    self._pause(listener)
                return  # there is a place in the loop's next round
            try:
                connection, address = listener.accept()
            except OSError as error:
                if error.errno in _NONE_LEFT:  # others have taken them
                    self._connections.push_out()
                    self._pause(listener)
                return
            connection.setblocking(False)
            protocol = self._make()
            self._connections.enter(protocol, peer_of(address), connection)
            task = self._loop.create_task(self._connect(protocol, connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, protocol: GuardedProtocol, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # it is gone already
            self._connections.left(protocol)
            connection.close()
