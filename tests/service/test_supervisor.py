"""Worker processes are watched, and replaced when they end, hang or fall silent. Real processes, fake model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from service.job import Job, Stepped
from service.messages import Configure, FromWorker, Heartbeat, Loading, Ready, SubmitJob
from service.supervisor import Supervisor, worker_command
from tests.service.fake import HANGS, SLOW
from tests.service.running import PATIENCE_SECONDS, ROOT


def configure(models: str = "fake-64", step_timeout_seconds: float = 20.0) -> Configure:
    return Configure((models,), None, None, None, 8, True, step_timeout_seconds=step_timeout_seconds)


class Recorder:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[FromWorker | str] = asyncio.Queue()

    def worker_said(self, message: FromWorker) -> None:
        self.messages.put_nowait(message)

    def worker_ended(self, how: str) -> None:
        self.messages.put_nowait(how)

    def supervision_ended(self, error: BaseException) -> None:
        raise error

    async def next(self, kind: type) -> object:
        """The next message of this kind; an end is a str."""
        while not isinstance(message := await asyncio.wait_for(self.messages.get(), PATIENCE_SECONDS), kind):
            pass
        return message


def supervised(test: Callable[[Supervisor, Recorder], Awaitable[None]], configure: Configure) -> None:
    """Runs a test with a supervisor that is stopped after it."""

    async def run() -> None:
        recorder = Recorder()
        supervisor = Supervisor(worker_command("tests.service.fake:load"), configure, recorder)
        supervisor.start()
        try:
            await test(supervisor, recorder)
        finally:
            await supervisor.stop()

    with contextlib.chdir(ROOT):  # where the worker finds its modules
        asyncio.run(run())


def job(class_id: int, steps: int = 1000) -> SubmitJob:
    return SubmitJob(Job(1, "r", 64, class_id, 0, steps, 4.0, "ddim"))


def test_a_worker_that_ends_is_replaced() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        first = supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await recorder.next(str) == "killed by SIGKILL"
        await recorder.next(Ready)
        assert supervisor.pid not in (None, first)

    supervised(test, configure())


def test_a_stopped_worker_is_seen_by_its_silence_and_replaced() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGSTOP)
        assert await recorder.next(str) == "silent for 0.5 s"
        await recorder.next(Ready)

    supervised(test, configure(step_timeout_seconds=1.0))


def test_a_step_that_does_not_end_is_a_hang_seen_within_twice_the_bound() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        supervisor.send(job(HANGS))
        how = await recorder.next(str)
        found = re.fullmatch(r"hung in a step of 64 pixels: ([0-9.]+) s, where 1\.0 s are the most", str(how))
        assert found is not None, how
        assert 1.0 <= float(found[1]) <= 2.0
        await recorder.next(Ready)

    supervised(test, configure(step_timeout_seconds=1.0))


def test_many_steps_that_end_are_no_hang_however_long_they_take_together() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        supervisor.send(job(SLOW))
        for _ in range(100):  # 2 seconds, 4 time-outs
            await recorder.next(Stepped)
        seen = [recorder.messages.get_nowait() for _ in range(recorder.messages.qsize())]
        assert not [message for message in seen if isinstance(message, str)]

    supervised(test, configure(step_timeout_seconds=0.5))


def test_loading_is_no_silence(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Loading)
        for _ in range(40):  # 5 time-outs
            await recorder.next(Heartbeat)
        fifo.write_bytes(b"go")
        await recorder.next(Ready)

    supervised(test, configure(f"waiting-64:{fifo}", step_timeout_seconds=0.5))


def test_an_idle_worker_is_not_silent() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        for _ in range(40):
            await recorder.next(Heartbeat)

    supervised(test, configure(step_timeout_seconds=0.5))
