"""R8: connections that send or read as slowly as they can; the others do not notice, and each is closed in time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from dataclasses import dataclass, field

from benchmarks.accounting import Seen
from benchmarks.client import LOOPBACK, NoAnswer, get, request_bytes
from benchmarks.faults.clients import Clients
from benchmarks.faults.options import Options
from benchmarks.load import at_times, in_turn, quantile
from benchmarks.report import Finding, Goal
from tests.service.running import Running, running

MARGIN_SECONDS = 2.0
OPENING_SECONDS = 1.0
CLIENTS = 2
KINDS = ("headers", "body", "silence")
SLOW_HEADER = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
SLOW_BODY_BYTES = 4096


@dataclass(slots=True)
class Books:
    """What was seen while the slow ones were there."""

    open_seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    left_open: int = 0
    livez: list[float] = field(default_factory=list)


async def slow(options: Options) -> Finding:
    """R8."""
    limit = str(options.limit_seconds)
    with running(options.command("--header-seconds", limit, "--body-seconds", limit)) as server:
        clients, books = Clients(server), Books()
        before = await _throughput(options, clients, 2 * options.limit_seconds)
        files = _open_files(server)
        attack = asyncio.create_task(_attack(options, clients, books))
        probing = asyncio.create_task(_probe(server.port, books, attack))
        during = await _throughput(options, clients, 2 * options.limit_seconds)
        await attack
        await probing
        kept = _open_files(server) - files
        goals = (*_goals(options.limit_seconds, books, before, during, kept), await clients.check())
    setting = (
        f"{options.model}; {options.slow_sockets} connections within a second, a third each sending headers a byte a "
        f"second, a body a byte a second, and nothing at all; limits {limit} s for headers and as much for the body; "
        f"{CLIENTS} clients making images meanwhile."
    )
    return Finding("R8 slow clients", setting, goals)


async def _attack(options: Options, clients: Clients, books: Books) -> None:
    """All slow connections, opened within a second, until the last is closed."""
    patience = options.limit_seconds + 5 * MARGIN_SECONDS
    count = options.slow_sockets
    times = [number * OPENING_SECONDS / count for number in range(count)]  # in a burst the prober waits for itself
    await at_times(times, lambda number, due: _one_slow(clients, books, KINDS[number % len(KINDS)], patience))


async def _one_slow(clients: Clients, books: Books, kind: str, patience: float) -> None:
    """Stays until the server closes, or until far past the limit."""
    identity = f"slow-{random.getrandbits(64):016x}"
    reader, writer = await asyncio.open_connection(LOOPBACK, clients.server.port)
    began, came = time.monotonic(), b""
    dripping = asyncio.create_task(_drip(writer, _opening(kind, identity)))
    try:
        async with asyncio.timeout(patience):
            with contextlib.suppress(OSError):
                came = await reader.read()
        books.open_seconds[kind].append(time.monotonic() - began)
    except TimeoutError:
        books.left_open += 1
    finally:
        dripping.cancel()
        writer.close()
    if kind == "body":  # received, as far as it goes; a byte on its way as the server closes resets the 408 away
        clients.note(Seen(identity, int(came.split(b" ", 2)[1]) if came else 408))


def _opening(kind: str, identity: str) -> bytes:
    """What a slow connection sends at once."""
    if kind == "body":
        whole = request_bytes("POST", "/generate", b" " * SLOW_BODY_BYTES, {"X-Request-Id": identity})
        return whole[:-SLOW_BODY_BYTES]
    return SLOW_HEADER if kind == "headers" else b""


async def _drip(writer: asyncio.StreamWriter, opening: bytes) -> None:
    if not opening:
        return
    writer.write(opening)
    while not writer.is_closing():
        await asyncio.sleep(1.0)
        writer.write(b" ")


async def _probe(port: int, books: Books, attack: asyncio.Task[None]) -> None:
    """Asks for /livez fifty times a second while the attack lasts."""
    while not attack.done():
        began = time.monotonic()
        with contextlib.suppress(NoAnswer):
            await get(port, "/livez")
        books.livez.append(time.monotonic() - began)
        await asyncio.sleep(0.02)


async def _throughput(options: Options, clients: Clients, seconds: float) -> float:
    """Images a second of a few clients that ask again at once."""
    source, began = random.Random(8), time.monotonic()
    numbers = itertools.takewhile(
        lambda _: time.monotonic() < began + seconds, (source.randrange(1000) for _ in itertools.count())
    )
    seen = await in_turn(CLIENTS, numbers, lambda number: clients.ask(options.body(number, 10)))
    return sum(each.status == 200 for each in seen) / (time.monotonic() - began)


def _goals(limit: float, books: Books, before: float, during: float, kept: int) -> list[Goal]:
    livez = 1e3 * quantile(books.livez, 0.99)
    late = sum(each > limit + MARGIN_SECONDS for found in books.open_seconds.values() for each in found)
    count = sum(map(len, books.open_seconds.values()))
    worst = ", ".join(f"{name} {max(found, default=0.0):.1f} s" for name, found in books.open_seconds.items())
    return [
        Goal("/livez p99 at most 50 ms", f"{livez:.1f} ms of {len(books.livez)}", livez <= 50, is_exact=False),
        Goal("every slow connection is closed", f"{count} closed, {books.left_open} not", not books.left_open),
        Goal(f"each within its limit and {MARGIN_SECONDS:.0f} s", f"{late} late; longest: {worst}", not late, False),
        Goal("images lose at most 5 %", f"{during:.2f} of {before:.2f} images/s", during >= 0.95 * before, False),
        Goal("no file stays open", f"{kept} more than before", kept <= 2),
    ]


def _open_files(server: Running) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))

