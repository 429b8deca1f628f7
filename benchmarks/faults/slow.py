"""R8: connections that send or read as slowly as they can; the others do not notice, and each is closed in time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.clients import Clients, Seen
from benchmarks.faults.options import Options
from benchmarks.load import LOOPBACK, NoAnswer, at_times, get, in_turn, quantile, request_bytes
from benchmarks.report import Finding, Goal
from tests.service.running import running

MARGIN_SECONDS = 2.0
OPENING_SECONDS = 1.0
CLIENTS = 2
KINDS = ("headers", "body", "silence")
SLOW_HEADER = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
SLOW_BODY_BYTES = 4096


async def slow(options: Options) -> Finding:
    limit = str(options.limit_seconds)
    with running(options.command("--header-seconds", limit, "--body-seconds", limit)) as server:
        clients, livez = Clients(server), list[float]()
        files = f"/proc/{server.process.pid}/fd"
        before, were_open = await _throughput(options, clients), len(os.listdir(files))
        # all within a second; in one burst the prober would wait for itself
        times = [number * OPENING_SECONDS / options.slow_sockets for number in range(options.slow_sockets)]
        patience = options.limit_seconds + 5 * MARGIN_SECONDS
        attack = asyncio.create_task(
            at_times(times, lambda number, due: _one_slow(clients, KINDS[number % len(KINDS)], patience))
        )
        probing = asyncio.create_task(_probe(server.port, livez, attack))
        during = await _throughput(options, clients)
        ends = await attack
        await probing
        kept = len(os.listdir(files)) - were_open
        rates = f"{during:.2f} of {before:.2f} images/s"
        goals = [
            *_goals(options.limit_seconds, ends, livez),
            Goal("images lose at most 5 %", rates, during >= 0.95 * before, is_exact=False),
            Goal("no file stays open", f"{kept} more than before", kept <= 2), await clients.check(),
        ]
    setting = (
        f"{options.model}; {options.slow_sockets} connections within a second, a third each sending headers a byte a "
        f"second, a body a byte a second, and nothing at all; limits {limit} s for headers and as much for the body; "
        f"{CLIENTS} clients making images meanwhile."
    )
    return Finding("R8 slow clients", setting, goals)


async def _one_slow(clients: Clients, kind: str, patience: float) -> tuple[str, float | None]:
    """Its kind and the seconds until the server closed; None if it had not, far past the limit."""
    identity = f"slow-{random.getrandbits(64):016x}"
    whole = request_bytes("POST", "/generate", b" " * SLOW_BODY_BYTES, {"X-Request-Id": identity})
    openings = {"headers": SLOW_HEADER, "body": whole[:-SLOW_BODY_BYTES], "silence": b""}
    reader, writer = await asyncio.open_connection(LOOPBACK, clients.server.port)
    began, came, seconds = time.monotonic(), b"", None
    dripping = asyncio.create_task(_drip(writer, openings[kind]))
    try:
        async with asyncio.timeout(patience):
            with contextlib.suppress(OSError):
                came = await reader.read()
        seconds = time.monotonic() - began
    except TimeoutError:
        pass
    finally:
        dripping.cancel()
        writer.close()
    if kind == "body":  # received, as far as it goes; a byte on its way as the server closes resets the 408 away
        clients.note(Seen(identity, int(came.split(b" ", 2)[1]) if came else 408))
    return kind, seconds


async def _drip(writer: asyncio.StreamWriter, opening: bytes) -> None:
    writer.write(opening)
    while opening and not writer.is_closing():
        await asyncio.sleep(1.0)
        writer.write(b" ")


async def _probe(port: int, livez: list[float], attack: asyncio.Task[Any]) -> None:
    """Asks for /livez fifty times a second while the attack lasts."""
    while not attack.done():
        began = time.monotonic()
        with contextlib.suppress(NoAnswer):
            await get(port, "/livez")
        livez.append(time.monotonic() - began)
        await asyncio.sleep(0.02)


async def _throughput(options: Options, clients: Clients) -> float:
    """Images a second of a few clients that ask again at once."""
    source, began = random.Random(8), time.monotonic()
    until = began + 2 * options.limit_seconds
    numbers = itertools.takewhile(lambda _: time.monotonic() < until, iter(lambda: source.randrange(1000), None))
    seen = await in_turn(CLIENTS, numbers, lambda number: clients.ask(options.body(number, 10)))
    return sum(each.status == 200 for each in seen) / (time.monotonic() - began)


def _goals(limit: float, ends: Sequence[tuple[str, float | None]], livez: Sequence[float]) -> list[Goal]:
    p99 = 1e3 * quantile(livez, 0.99)
    closed = {kind: [seconds for each, seconds in ends if each == kind and seconds is not None] for kind in KINDS}
    count = sum(map(len, closed.values()))
    late = sum(each > limit + MARGIN_SECONDS for found in closed.values() for each in found)
    worst = ", ".join(f"{kind} {max(found, default=0.0):.1f} s" for kind, found in closed.items())
    return [
        Goal("/livez p99 at most 50 ms", f"{p99:.1f} ms of {len(livez)}", p99 <= 50, is_exact=False),
        Goal("every slow connection is closed", f"{count} closed, {len(ends) - count} not", count == len(ends)),
        Goal(f"each within its limit and {MARGIN_SECONDS:.0f} s", f"{late} late; longest: {worst}", not late, False),
    ]
