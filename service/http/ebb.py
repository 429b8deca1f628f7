"""Gives the memory of connections back to the system once many of them have gone.

A flood of them takes up to a hundred KiB each, headers and bodies included, and the C library would keep that for the
next flood. To give it back stops the event loop for a moment (70 ms after 2,000 of them), so it is done only when it
has become worth that.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from dit_serve.memory import give_back_freed
from dit_serve.service.http.connections import Connections

LOOK_SECONDS = 5.0
MANY = 256  # connections, whose memory is worth it
REST = 4  # there are no more than one in so many of those that there were


async def give_back_after_floods(connections: Connections, give_back: Callable[[], None] = give_back_freed) -> None:
    """Looks for ever, and has memory given back when many of these connections have gone."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if connections.most >= MANY and len(connections) <= connections.most // REST:
            gc.collect()  # a connection and its requests know each other
            give_back()
            connections.most = len(connections)
