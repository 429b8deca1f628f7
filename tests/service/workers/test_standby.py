"""A process that stands by is taken first, watched, replaced when it dies, and never stays behind. Real processes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from dit_serve.service.workers import standby as rooms
from dit_serve.service.workers.child import Child, spawn
from dit_serve.service.workers.standby import Standby
from dit_serve.threads import OWN_WORDS, SPINS
from tests.service.running import PATIENCE_SECONDS, ROOT

WAITS = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).recv(1)"
STANDS_BY = """
import socket, sys
from dit_serve.service.wire.messages import Imported
from dit_serve.service.wire.frames import pack
parent = socket.socket(fileno=int(sys.argv[1]))
parent.sendall(pack(Imported()))
parent.recv(1)
"""
TELLS_THREADS = """
import os, socket, sys
from dit_serve.service.wire.messages import Loading
from dit_serve.service.wire.frames import pack
parent = socket.socket(fileno=int(sys.argv[1]))
parent.sendall(pack(Loading(os.environ.get('OMP_NUM_THREADS', 'none'))))
parent.recv(1)
"""
TELLS_SPINS = TELLS_THREADS.replace("OMP_NUM_THREADS", "GOMP_SPINCOUNT")


def with_standby(test: Callable[[Standby], Awaitable[None]], program: str = WAITS, **options: int) -> None:
    """Runs a test with a standby that is stopped after it."""

    async def run() -> None:
        standby = Standby([sys.executable, "-c", program, "{fd}"], **options)
        try:
            await asyncio.wait_for(test(standby), PATIENCE_SECONDS)
        finally:
            await standby.stop()

    asyncio.run(run())


async def until(is_so: Callable[[], bool]) -> None:
    """Returns when something has come about in the event loop."""
    while not is_so():
        await asyncio.sleep(0)


async def prepared(standby: Standby) -> int:
    """The process that stands by, once it is there."""
    standby.prepare()
    await until(lambda: standby.pid is not None)
    assert standby.pid is not None
    return standby.pid


async def pid_of_taken(standby: Standby) -> int:
    """The process that is taken; it is ended."""
    child = await standby.take()
    await child.end()
    return child.pid


async def told(standby: Standby) -> str:
    """What the next process says first."""
    child = await standby.take()
    heard: asyncio.Queue[str] = asyncio.Queue()
    child.hear = lambda message: heard.put_nowait(message.model)  # type: ignore[union-attr]
    words = await heard.get()
    await child.end()
    return words


def test_the_process_that_stands_by_is_taken_first() -> None:
    async def test(standby: Standby) -> None:
        first = await prepared(standby)
        assert await pid_of_taken(standby) == first
        assert await pid_of_taken(standby) != first

    with_standby(test)


def test_only_one_stands_by() -> None:
    async def test(standby: Standby) -> None:
        standby.prepare()
        first = await prepared(standby)
        standby.prepare()
        await asyncio.sleep(0)
        assert standby.pid == first

    with_standby(test)


def test_one_is_up_when_it_has_its_libraries() -> None:
    async def test(standby: Standby) -> None:
        await prepared(standby)
        assert not standby.is_up
        await until(lambda: standby.is_up)
        child = await standby.take()
        assert (child.is_imported, standby.is_up) == (True, False)
        await child.end()

    with_standby(test, STANDS_BY)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_dies_or_falls_silent_is_replaced_and_said(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rooms, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(rooms, "TICK_SECONDS", 0.1)
    monkeypatch.setattr(rooms, "FIRST_PAUSE_SECONDS", 0.01)

    async def test(standby: Standby) -> None:
        standby.prepare()
        await until(lambda: standby.is_up)
        first = standby.pid
        assert first is not None
        os.kill(first, number)
        await until(lambda: standby.pid not in (None, first))

    with caplog.at_level(logging.WARNING):
        with_standby(test, STANDS_BY)
    how = "killed by SIGKILL" if number is signal.SIGKILL else "silent for 1."
    assert how in caplog.messages[0]


def test_one_that_always_dies_is_started_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def asleep(seconds: float) -> None:
        if seconds >= rooms.FIRST_PAUSE_SECONDS:
            pauses.append(seconds)
        await sleep(0)

    async def dead(command: Sequence[str], environment: Mapping[str, str]) -> Child:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(rooms, "spawn", dead)

    async def test(standby: Standby) -> None:
        standby.prepare()
        while len(pauses) < 7:
            await sleep(0)

    with monkeypatch.context() as patched:
        patched.setattr(rooms.asyncio, "sleep", asleep)
        with_standby(test)
    assert pauses[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_one_that_has_died_is_not_handed_out() -> None:
    async def test(standby: Standby) -> None:
        first = await prepared(standby)
        os.kill(first, signal.SIGKILL)
        await until(lambda: standby.pid != first)
        assert await pid_of_taken(standby) != first

    with_standby(test)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_what_finds_no_room_for_a_process_waits_until_there_is_and_says_it_once(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = iter(range(2))

    async def full(command: Sequence[str], environment: Mapping[str, str]) -> Child:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))
        return await spawn(command, environment)

    monkeypatch.setattr(rooms, "spawn", full)
    monkeypatch.setattr(rooms, "FIRST_RETRY_SECONDS", 0.001)

    async def test(standby: Standby) -> None:
        taking = asyncio.create_task(standby.take())
        await until(lambda: bool(standby.no_room))
        assert standby.no_room == os.strerror(number)
        child = await taking
        assert standby.no_room == ""
        await child.end()

    with caplog.at_level(logging.WARNING):
        with_standby(test)
    assert [os.strerror(number) in message for message in caplog.messages] == [True]


def test_what_cannot_be_started_at_all_is_an_error() -> None:
    async def run() -> None:
        await Standby([str(ROOT / "nothing-here"), "{fd}"]).take()

    with pytest.raises(FileNotFoundError):
        asyncio.run(run())


def test_none_stands_by_where_none_is_wanted() -> None:
    async def test(standby: Standby) -> None:
        standby.prepare()
        await asyncio.sleep(0)
        assert standby.pid is None

    with_standby(test, is_wanted=False)


def test_stopping_ends_the_one_that_stands_by_even_while_it_is_started() -> None:
    async def test(standby: Standby) -> None:
        standby.prepare()
        await asyncio.sleep(0)
        await standby.stop()
        assert standby.pid is None

    with_standby(test)


@pytest.mark.parametrize(("threads", "expected"), [(0, "none"), (3, "3")])
def test_a_process_is_told_its_share_of_the_cores(
    threads: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    async def test(standby: Standby) -> None:
        assert await told(standby) == expected

    with_standby(test, TELLS_THREADS, threads=threads)


def test_the_operators_own_word_on_threads_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")

    async def test(standby: Standby) -> None:
        assert await told(standby) == "5"

    with_standby(test, TELLS_THREADS, threads=3)


@pytest.mark.parametrize(("said", "expected"), [(None, SPINS), ("7", "7")])
def test_a_process_is_told_how_long_its_threads_spin(
    said: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OWN_WORDS:
        monkeypatch.delenv(name, raising=False)
    if said is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", said)

    async def test(standby: Standby) -> None:
        assert await told(standby) == expected

    with_standby(test, TELLS_SPINS, threads=2)
