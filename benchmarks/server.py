"""A server in a process group of its own, followed through its log. Knows no load.

Our service writes one JSON object a line; a peer's lines are kept as they are. Whoever waits for a line is woken when
it comes. Times of our log are the wall clock's, in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.client import Address, NoAnswer, get

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120.0
LINE_LIMIT_BYTES = 1 << 20
FREE_PORTS = ("--port", "0", "--metrics-port", "0")
Line = dict[str, Any]


class Server:
    """A running server and every line that it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Line] = []
        self.address = Address("127.0.0.1", 0)
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"text": text.decode(errors="replace").rstrip()}
            self.lines.append(line if isinstance(line, dict) else {"text": text.decode(errors="replace")})
            self._news.set()

    def find(self, event: str, since: int = 0) -> list[Line]:
        """The lines of an event, from line number `since` on."""
        return [line for line in self.lines[since:] if line.get("event") == event]

    async def wait_for(self, is_it: Callable[[Line], bool], since: int = 0, patience: float = PATIENCE_SECONDS) -> Line:
        """The first line from number `since` on that satisfies the test, now or when it comes.

        Raises:
            TimeoutError: it did not come.
            RuntimeError: the server ended without it.
        """
        async with asyncio.timeout(patience):
            while True:
                for line in self.lines[since:]:
                    if is_it(line):
                        return line
                since = len(self.lines)
                if self._reading.done():
                    raise RuntimeError(f"the server ended; its last lines: {self.lines[-5:]}")
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, self._reading}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()

    async def wait_for_event(self, event: str, since: int = 0, patience: float = PATIENCE_SECONDS) -> Line:
        """The first line of an event from number `since` on, see `wait_for`."""
        return await self.wait_for(lambda line: line.get("event") == event, since, patience)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server's main process alone."""
        self.process.send_signal(number)

    async def finish(self) -> int:
        """Waits until the process and all that write to its log have ended: the exit status."""
        status = await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)
        await asyncio.wait_for(self._reading, PATIENCE_SECONDS)
        return status

    async def kill(self) -> None:
        """Ends the whole process group, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.finish()


def serve_command(*flags: str, model: str = "digits-64") -> list[str]:
    """The command of our service on a real model."""
    return [sys.executable, "-m", "dit_serve", "serve", *FREE_PORTS, "--models", model, *flags]


def fake_command(*flags: str) -> list[str]:
    """The command of our service with the tests' fake model: every process and socket is real, no image is."""
    return [sys.executable, "-m", "tests.service.serve_fake", *FREE_PORTS, "--models", "fake-64", *flags]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the service."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("DIT_")}
    return kept | dict(extra or {})


@contextlib.asynccontextmanager
async def started(command: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """A server for the length of a with-statement, with whatever it started."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=clean_environment(environment), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, limit=LINE_LIMIT_BYTES,
        start_new_session=True,
    )  # fmt: skip
    server = Server(process)
    try:
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def serving(command: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Our service, ready for work."""
    async with started(command, environment) as server:
        port = int((await server.wait_for_event("listening"))["port"])
        server.address = Address("127.0.0.1", port)
        await server.wait_for_event("ready")
        yield server


@contextlib.asynccontextmanager
async def serving_peer(command: Sequence[str], environment: Mapping[str, str], health: str) -> AsyncIterator[Server]:
    """A peer's server once `health` answers 200; its port replaces "{port}" in the command."""
    port = free_port()
    async with started([part.replace("{port}", str(port)) for part in command], environment) as server:
        server.address = Address("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _answers(server.address, health):
                if server.process.returncode is not None:
                    raise RuntimeError(f"the peer ended; its last lines: {server.lines[-8:]}")
                await asyncio.sleep(0.2)
        yield server


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def step_seconds(server: Server, since: int = 0) -> float:
    """Median seconds of a step in the jobs that were completed from line number `since` on."""
    ends = [line for line in server.find("job_end", since) if line["outcome"] == "completed"]
    return float(statistics.median(line["denoise_seconds"] / line["steps"] for line in ends))


def logged_at(line: Line) -> float:
    """Seconds since the epoch at which a line of ours was written."""
    return datetime.fromisoformat(line["time"]).timestamp()


async def _answers(address: Address, path: str) -> bool:
    try:
        return (await get(address, path)).status == 200
    except NoAnswer:
        return False
