"""A child process and our end of its socket: what it says is passed on to whoever has it, and its end is told in words.

Knows no worker, and of its messages the one that says that its libraries are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Mapping, Sequence

from dit_serve.service.errors import WireError
from dit_serve.service.wire.frames import pack, receive_async
from dit_serve.service.wire.messages import FromWorker, Imported, Message, ToWorker

KILL_AFTER_SECONDS = 5.0


class Child:
    """A running process. Made by `spawn`.

    Args:
        process: the process.
        reader, writer: our end of its socket.

    Attributes:
        hear: is called with all that it says; whoever has the process sets it.
        listening: ends when it has closed its socket, as its death does, or with the error of `hear`.
        is_imported: whether its libraries are there.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.hear: Callable[[FromWorker], None] = lambda _: None
        self.is_imported = False
        self._process = process
        self._writer = writer
        self.listening = asyncio.create_task(self._listen(reader), name=f"listen-{process.pid}")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether nothing is known of its end."""
        return self._process.returncode is None and not self.listening.done()

    def send(self, message: ToWorker) -> None:
        """Says something; to one that is gone it is lost, as it would be in a crash."""
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    def kill(self) -> None:
        """Ends the process, even if it is stopped."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> str:
        """Closes its socket, at which it ends, and is killed if it does not: how it ended, as the system tells it."""
        self.listening.cancel()
        self._writer.close()
        await asyncio.wait([self.listening])
        if not self.listening.cancelled():
            self.listening.exception()  # whoever had it has met it
        try:
            status = await asyncio.wait_for(self._process.wait(), KILL_AFTER_SECONDS)
        except TimeoutError:
            self.kill()
            status = await self._process.wait()
        return _described(status)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):  # it died with something unread
            while (message := await receive_async(reader)) is not None:
                said = _checked(message)
                self.is_imported |= isinstance(said, Imported)
                self.hear(said)


async def spawn(command: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Starts a process.

    Args:
        command: how; "{fd}" stands for the number of its end of the socket.
        environment: all that it gets.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            process = await asyncio.create_subprocess_exec(
                *(str(descriptor) if part == "{fd}" else part for part in command),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[descriptor],
                env=environment,
                start_new_session=True,  # what a terminal sends to all would find it before it can ignore that
            )
        except BaseException:
            writer.close()
            raise
    return Child(process, reader, writer)


def _checked(message: Message) -> FromWorker:
    if not isinstance(message, FromWorker):
        raise WireError(f"a worker does not say {message.kind}")
    return message


def _described(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
