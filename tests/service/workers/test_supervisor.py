"""Worker processes are watched, and replaced when they end, hang or fall silent. Real processes, fake model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from dit_serve.service.wire.job import Job, JobEnd, Stepped
from dit_serve.service.wire.messages import Configure, FromWorker, Heartbeat, Loading, Ready, SubmitJob
from dit_serve.service.workers.standby import Standby
from dit_serve.service.workers.supervisor import SILENT_STEPS, Supervisor, worker_command
from tests.service.fake import HANGS, KILLS, SLOW
from tests.service.running import PATIENCE_SECONDS, ROOT

SAYS_A_STEP_TOOK_TWO_SECONDS = """
import socket, sys
from dit_serve.service.wire.job import Stepped
from dit_serve.service.wire.messages import Ready
from dit_serve.service.wire.frames import pack
parent = socket.socket(fileno=int(sys.argv[1]))
parent.sendall(pack(Ready(())) + pack(Stepped((1,), 64, 2, 2.0)))
while parent.recv(1024):
    pass
"""


def configure(models: str = "fake-64", step_timeout_seconds: float = 20.0, silence_seconds: float = 1.5) -> Configure:
    return Configure(
        (models,), None, None, None, 8, True,
        step_timeout_seconds=step_timeout_seconds, silence_seconds=silence_seconds,
    )  # fmt: skip


class Recorder:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[FromWorker | str] = asyncio.Queue()
        self.failures: list[bool] = []

    def worker_said(self, message: FromWorker) -> None:
        self.messages.put_nowait(message)

    def worker_ended(self, how: str, *, has_failed_to_start: bool) -> None:
        self.failures.append(has_failed_to_start)
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
        standby = Standby(worker_command("tests.service.fake:load"))
        supervisor = Supervisor(standby, configure, recorder)
        supervisor.start()
        try:
            await test(supervisor, recorder)
        finally:
            await supervisor.stop()
            await standby.stop()

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
        supervisor.send(job(0, steps=1))
        await recorder.next(JobEnd)  # its steps take next to no time
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGSTOP)
        assert await recorder.next(str) == "silent for 0.5 s"
        await recorder.next(Ready)

    supervised(test, configure(silence_seconds=0.5))


def test_a_worker_is_stopped_for_its_silence_however_long_a_step_may_take() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        supervisor.send(job(0, steps=1))
        await recorder.next(Stepped)
        assert supervisor.patience_seconds == 0.5

    supervised(test, configure(step_timeout_seconds=3600, silence_seconds=0.5))


def test_before_a_step_was_measured_half_of_its_time_out_may_pass_in_silence() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        assert supervisor.patience_seconds == 10.0

    supervised(test, configure(step_timeout_seconds=20, silence_seconds=0.5))


def test_the_slower_the_steps_the_longer_the_silence_that_is_borne() -> None:
    async def run() -> None:
        recorder = Recorder()
        standby = Standby([sys.executable, "-c", SAYS_A_STEP_TOOK_TWO_SECONDS, "{fd}"])
        supervisor = Supervisor(standby, configure(), recorder)
        supervisor.start()
        try:
            await recorder.next(Stepped)
            assert supervisor.patience_seconds == 2 * SILENT_STEPS
        finally:
            await supervisor.stop()
            await standby.stop()

    asyncio.run(run())


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

    supervised(test, configure(step_timeout_seconds=0.5, silence_seconds=0.5))


def test_loading_is_no_silence(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Loading)
        for _ in range(30):  # 5 silences
            await recorder.next(Heartbeat)
        fifo.write_bytes(b"go")
        await recorder.next(Ready)

    supervised(test, configure(f"waiting-64:{fifo}", silence_seconds=0.5))


def test_an_idle_worker_is_not_silent() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        for _ in range(30):  # 5 silences
            await recorder.next(Heartbeat)
        assert not recorder.failures

    supervised(test, configure(step_timeout_seconds=0.5, silence_seconds=0.5))


def test_a_worker_that_ends_without_having_had_work_has_failed_to_start() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        for _ in range(2):
            await recorder.next(Ready)
            assert supervisor.pid is not None
            os.kill(supervisor.pid, signal.SIGKILL)
            await recorder.next(str)
        assert recorder.failures == [True, True]

    supervised(test, configure())


def test_a_worker_that_dies_of_its_work_has_not_failed_to_start() -> None:
    async def test(supervisor: Supervisor, recorder: Recorder) -> None:
        await recorder.next(Ready)
        supervisor.send(job(KILLS))
        assert await recorder.next(str) == "killed by SIGKILL"
        assert recorder.failures == [False]

    supervised(test, configure())
