"""The next process of a worker: when it comes, what becomes of one that does not answer, loads or loaded wrongly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from dit_serve.models.options import ModelInfo
from dit_serve.service.workers.patience import FIRST_LOADING_SECONDS, Phase
from dit_serve.service.workers.worker import Worker
from tests.service.workers.watched import Recorder, configure, supervised


def test_a_worker_that_was_ready_has_not_failed_to_start_but_the_next_one_comes_later() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        pauses = []
        for _ in range(2):
            await recorder.ready()
            assert worker.life.pid is not None
            os.kill(worker.life.pid, signal.SIGKILL)
            await recorder.end()
            pauses.append(worker.starts.pause_seconds)
        assert recorder.failures == [False, False]
        assert pauses == [0.2, 0.4]

    supervised(test, configure())


def test_a_process_that_stands_by_and_does_not_answer_is_killed_and_the_next_one_taken() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.ready()
        standby = worker._standby
        while not standby.is_up:
            await asyncio.sleep(0)
        assert standby.pid is not None
        assert worker.life.pid is not None
        os.kill(standby.pid, signal.SIGSTOP)
        os.kill(worker.life.pid, signal.SIGKILL)
        assert await recorder.end() == "killed by SIGKILL"
        assert await recorder.end() == "silent for 3.0 s when it was called from standby"
        await recorder.ready()

    supervised(test, configure())


def test_a_worker_that_loads_and_does_not_beat_is_killed_sooner_once_it_is_known_how_long_that_takes(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def test(worker: Worker, recorder: Recorder) -> None:
        await recorder.messages(8)
        assert (worker.patience.phase, worker.patience.seconds) == (Phase.LOADING, FIRST_LOADING_SECONDS)
        fifo.write_bytes(b"go")
        await recorder.ready()
        assert worker.life.pid is not None
        os.kill(worker.life.pid, signal.SIGKILL)
        await recorder.end()
        await recorder.messages(8)
        assert worker.patience.phase is Phase.LOADING
        assert worker.patience.seconds < FIRST_LOADING_SECONDS

    supervised(test, configure(f"waiting-64:{fifo}"))


def test_what_is_refused_for_what_it_loaded_is_tried_again_and_says_why() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        recorder.refusals = ["other weights"]
        assert await recorder.end() == "refused for what it loaded"
        assert (worker.is_refused, worker.is_given_up, worker.trouble) == (True, True, "other weights")
        assert recorder.failures == [False]
        await recorder.ready()
        assert (worker.is_refused, worker.is_given_up, worker.trouble) == (False, False, "")

    supervised(test, configure())


def test_a_defect_of_the_supervision_ends_the_service() -> None:
    async def test(worker: Worker, recorder: Recorder) -> None:
        def defect(models: Mapping[str, ModelInfo]) -> str:
            raise ZeroDivisionError

        recorder.why_refused = defect  # type: ignore[method-assign]
        assert await recorder.end() == "stopped for good: internal error: ZeroDivisionError; the log has it"

    supervised(test, configure())
