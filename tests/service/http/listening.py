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

from dit_serve.service.http.limits import GuardedProtocol, guarded_protocol
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Tally
from tests.service.running import PATIENCE_SECONDS


@dataclass(slots=True)
class Listening:
    """What listens, and on which port."""

    port: int
    config: uvicorn.Config
    state: ServerState
    tally: Tally
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
async def listening(app: Any, **settings: str) -> AsyncIterator[Listening]:
    """Listens for the length of a with-statement, with these settings in the place of the defaults."""
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
    config.load()
    here = Listening(0, config, ServerState(), Tally())
    kind = guarded_protocol(read_settings({}, settings).limits, here.tally)

    def protocol() -> GuardedProtocol:
        made = kind(config=config, server_state=here.state, app_state={})
        here.protocols.append(made)
        return made

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, family=socket.AF_INET)
    here.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield here
    finally:
        server.close()
        for each in here.protocols:
            each.transport.abort()
        while here.state.tasks or here.state.connections:
            await asyncio.sleep(0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a test in the event loop that the service has."""
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(test())
