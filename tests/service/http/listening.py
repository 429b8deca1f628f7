"""The service's protocol on a loopback port of this very process, around any application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from dit_serve.service.http.accepting import Acceptor
from dit_serve.service.http.connections import Bounds, Connections
from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Tally
from tests.service.running import PATIENCE_SECONDS

MANY = Bounds(1000, 1000, 4)  # connections: more than a test makes


@dataclass(slots=True)
class Listening:
    """What listens, and on which port."""

    port: int
    config: uvicorn.Config
    state: ServerState
    tally: Tally
    connections: Connections
    protocols: list[GuardedProtocol] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to it."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *pieces: bytes, half_closes: bool = False) -> bytes:
        """All that is said to who sends this, up to the end of the connection."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if half_closes:
            writer.write_eof()
        said = await reader.read(-1)
        writer.close()
        return said


@contextlib.asynccontextmanager
async def listening(app: Any, bounds: Bounds = MANY, **settings: str) -> AsyncIterator[Listening]:
    """Listens for the length of a with-statement, with these bounds, and settings in the place of the defaults."""
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
    config.load()
    here = Listening(0, config, ServerState(), Tally(), Connections(bounds))
    kind = guarded_protocol(read_settings({}, settings).limits, here.tally, here.connections)

    def protocol() -> GuardedProtocol:
        made = kind(config=config, server_state=here.state, app_state={})
        here.protocols.append(made)
        return made

    with socket.create_server(("127.0.0.1", 0)) as listener:
        here.port = listener.getsockname()[1]
        acceptor = Acceptor([listener], protocol, here.connections)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield here
        finally:
            acceptor.close()
            while here.state.tasks or len(here.connections):
                for each in here.state.connections:
                    each.transport.abort()  # type: ignore[union-attr]
                await asyncio.sleep(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a test in the event loop that the service has."""
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(test())
