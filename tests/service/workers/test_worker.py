"""Worker processes are watched, and replaced when they end, hang or fall silent. Real processes, fake model."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

from dit_serve.models.options import SampleSpec
from dit_serve.service.wire.job import Job, JobEnd, Stepped
from dit_serve.service.wire.messages import SubmitJob
from dit_serve.service.workers.life import Life, State
from dit_serve.service.workers.patience import STEPS
from dit_serve.service.workers.worker import Worker
from tests.service.fake import HANGS, KILLS, SLOW
from tests.service.workers.watched import Recorder, configure, supervised

SAYS_A_STEP_TOOK_TWO_SECONDS = """
import socket, sys
from dit_serve.service.wire.job import Stepped
from dit_serve.service.wire.messages import Ready
from dit_serve.service.wire.frames import pack
parent = socket.socket(fileno=int(sys.argv[1]))
parent.sendall(pack(Ready((), {})) + pack(Stepped((1,), "fake-64", 2, 2.0, 0.0)))
while parent.recv(1024):
    pass
"""


def job(class_id: int, steps: int = 1000) -> SubmitJob:
    return SubmitJob(Job(1, "r", "fake-64", SampleSpec(class_id, 0, steps, 4.0, "ddim")))


def test_a_worker_that_ends_is_replaced() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        first = worker.life.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await recorder.end() == "killed by SIGKILL"
        await recorder.ready()
        assert worker.life.pid not in (None, first)

    supervised(test, configure())


def test_a_stopped_worker_is_seen_by_its_silence_and_replaced() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        worker.send(job(0, steps=1))
        await recorder.event(JobEnd)  # its steps take next to no time
        assert worker.life.pid is not None
        os.kill(worker.life.pid, signal.SIGSTOP)
        assert await recorder.end() == "silent for 0.5 s"
        await recorder.ready()

    supervised(test, configure(silence_seconds=0.5))


def test_a_worker_is_stopped_for_its_silence_however_long_a_step_may_take() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        worker.send(job(0, steps=1))
        await recorder.event(Stepped)
        assert worker.patience.seconds == 0.5

    supervised(test, configure(step_timeout_seconds=3600, silence_seconds=0.5))


def test_before_a_step_was_measured_half_of_its_time_out_may_pass_in_silence() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        assert worker.patience.seconds == 10.0

    supervised(test, configure(step_timeout_seconds=20, silence_seconds=0.5))


def test_the_slower_the_steps_the_longer_the_silence_that_is_borne() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.event(Stepped)
        assert worker.patience.seconds == 2 * STEPS.factor

    supervised(test, configure(), [sys.executable, "-c", SAYS_A_STEP_TOOK_TWO_SECONDS, "{fd}"])


def test_a_life_is_what_is_known_of_the_present_process() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        assert (worker.life, worker.trouble) == (Life(), "the worker is starting")
        await recorder.ready()
        first = worker.life
        assert (first.state, worker.is_up, worker.trouble, list(first.models)) == (State.UP, True, "", ["fake-64"])
        assert worker.places == {"fake-64": 8}
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        assert await recorder.end() == "killed by SIGKILL"
        assert (worker.life.pid, worker.places, worker.is_up) == (None, {"fake-64": 8}, False)
        assert worker.trouble == "the worker ended (killed by SIGKILL) and is being replaced"
        await recorder.ready()
        assert worker.life.pid not in (None, first.pid)

    supervised(test, configure())


def test_a_step_that_does_not_end_is_a_hang_seen_within_twice_the_bound() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        worker.send(job(HANGS))
        how = await recorder.end()
        found = re.fullmatch(r"hung in a step of fake-64: ([0-9.]+) s, where 1\.0 s are the most", str(how))
        assert found is not None, how
        assert 1.0 <= float(found[1]) <= 2.0
        await recorder.ready()

    supervised(test, configure(step_timeout_seconds=1.0))


def test_many_steps_that_end_are_no_hang_however_long_they_take_together() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        worker.send(job(SLOW))
        for _ in range(100):  # 2 seconds, 4 time-outs
            await recorder.event(Stepped)
        assert not recorder.failures

    supervised(test, configure(step_timeout_seconds=0.5, silence_seconds=0.5))


def test_loading_is_no_silence(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.messages(31)  # 5 silences
        assert (worker.life.state, worker.trouble) == (State.STARTING, "loading fifo")
        fifo.write_bytes(b"go")
        await recorder.ready()

    supervised(test, configure(f"waiting-64:{fifo}", silence_seconds=0.5))


def test_an_idle_worker_is_not_silent() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        await recorder.messages(30)  # 5 silences
        assert not recorder.failures

    supervised(test, configure(step_timeout_seconds=0.5, silence_seconds=0.5))


def test_a_worker_that_dies_of_its_work_has_not_failed_to_start() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        worker.send(job(KILLS))
        assert await recorder.end() == "killed by SIGKILL"
        assert recorder.failures == [False]

    supervised(test, configure())
