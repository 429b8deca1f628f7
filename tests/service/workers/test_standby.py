"""A process that stands by is taken first, is replaced when asked for, and never stays behind. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import pytest

from dit_serve.service.workers.standby import Standby, ended
from dit_serve.threads import OWN_WORDS, SPINS

WAITS = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).recv(1)"
TELLS_THREADS = (
    "import os, socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
    "s.send(os.environ.get('OMP_NUM_THREADS', 'none').encode())"
)
TELLS_SPINS = TELLS_THREADS.replace("OMP_NUM_THREADS", "GOMP_SPINCOUNT")


def with_standby(test: Callable[[Standby], Awaitable[None]], program: str = WAITS, **options: int) -> None:
    """Runs a test with a standby that is stopped after it."""

    async def run() -> None:
        standby = Standby([sys.executable, "-c", program, "{fd}"], **options)
        try:
            await test(standby)
        finally:
            await standby.stop()

    asyncio.run(run())


async def is_reaped(pid: int) -> bool:
    """Whether a child's end has been taken note of."""
    await asyncio.sleep(0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def pid_of_taken(standby: Standby) -> int:
    """The process that is taken; it is ended."""
    process, ours = await standby.take()
    ours.close()
    await ended(process)
    return process.pid


def test_the_process_that_stands_by_is_taken_first() -> None:
    async def test(standby: Standby) -> None:
        await standby.prepare()
        assert standby.pid is not None
        prepared = standby.pid
        assert await pid_of_taken(standby) == prepared
        assert await pid_of_taken(standby) != prepared

    with_standby(test)


def test_only_one_stands_by() -> None:
    async def test(standby: Standby) -> None:
        await asyncio.gather(standby.prepare(), standby.prepare())
        prepared = standby.pid
        await standby.prepare()
        assert standby.pid == prepared

    with_standby(test)


def test_one_that_has_died_is_not_handed_out() -> None:
    async def test(standby: Standby) -> None:
        await standby.prepare()
        prepared = standby.pid
        assert prepared is not None
        os.kill(prepared, signal.SIGKILL)
        while not await is_reaped(prepared):
            pass
        assert await pid_of_taken(standby) != prepared

    with_standby(test)


def test_none_stands_by_where_none_is_wanted() -> None:
    async def test(standby: Standby) -> None:
        await standby.prepare()
        assert standby.pid is None

    with_standby(test, is_wanted=False)


def test_stopping_ends_the_one_that_stands_by_even_while_it_is_started() -> None:
    async def test(standby: Standby) -> None:
        preparing = asyncio.create_task(standby.prepare())
        await asyncio.sleep(0)
        await standby.stop()
        await preparing
        assert standby.pid is None

    with_standby(test)


@pytest.mark.parametrize(("threads", "told"), [(0, b"none"), (3, b"3")])
def test_a_process_is_told_its_share_of_the_cores(
    threads: int, told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    async def test(standby: Standby) -> None:
        process, ours = await standby.take()
        with ours:
            ours.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(ours, 16) == told
        await ended(process)

    with_standby(test, TELLS_THREADS, threads=threads)


def test_the_operators_own_word_on_threads_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")

    async def test(standby: Standby) -> None:
        process, ours = await standby.take()
        with ours:
            ours.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(ours, 16) == b"5"
        await ended(process)

    with_standby(test, TELLS_THREADS, threads=3)


@pytest.mark.parametrize(("said", "told"), [(None, SPINS.encode()), ("7", b"7")])
def test_a_process_is_told_how_long_its_threads_spin(
    said: str | None, told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OWN_WORDS:
        monkeypatch.delenv(name, raising=False)
    if said is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", said)

    async def test(standby: Standby) -> None:
        process, ours = await standby.take()
        with ours:
            ours.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(ours, 16) == told
        await ended(process)

    with_standby(test, TELLS_SPINS, threads=2)
