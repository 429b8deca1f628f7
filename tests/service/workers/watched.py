"""A worker whose owner writes down what it is told, and can be waited on. Real processes, fake model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from dit_serve.models.options import ModelInfo
from dit_serve.service.wire.job import Event
from dit_serve.service.wire.messages import Configure, Fatal
from dit_serve.service.workers.patience import Habit, Patience
from dit_serve.service.workers.standby import Standby
from dit_serve.service.workers.worker import Worker, worker_command
from tests.service.running import PATIENCE_SECONDS, ROOT


def configure(models: str = "fake-64", step_timeout_seconds: float = 20.0, silence_seconds: float = 1.5) -> Configure:
    return Configure(
        (models,), max_batch_sequences=8, step_timeout_seconds=step_timeout_seconds, silence_seconds=silence_seconds
    )


class Heard(Patience):
    """A patience that passes on whenever a message came."""

    def __init__(self, configure: Configure, on_message: Callable[[], None]) -> None:
        super().__init__(configure.silence_seconds, configure.step_timeout_seconds, Habit(600, 20))
        self._on_message = on_message

    def heard(self) -> None:
        super().heard()
        self._on_message()


class Recorder:
    """An owner that can be waited on: "ready", "message", an event, or how the process ended."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Event | str] = asyncio.Queue()
        self.failures: list[bool] = []
        self.refusals: list[str] = []  # of the processes to come, first one first

    def why_refused(self, models: Mapping[str, ModelInfo]) -> str:
        return self.refusals.pop(0) if self.refusals else ""

    def worker_ready(self, worker: Worker) -> None:
        self.told.put_nowait("ready")

    def worker_told(self, worker: Worker, event: Event) -> None:
        self.told.put_nowait(event)

    def worker_lost(self, worker: Worker, how: str) -> None:
        self.failures.append(worker.starts.failed > 0)
        self.told.put_nowait(how)

    def cannot_load(self, why: Fatal) -> None:
        raise AssertionError(why.sentence)

    def stop_for_good(self, sentence: str) -> None:
        self.told.put_nowait(f"stopped for good: {sentence}")

    async def ready(self) -> None:
        while await self._next() != "ready":
            pass

    async def messages(self, count: int) -> None:
        """Returns when so many more messages came, of whatever kind."""
        while count:
            count -= await self._next() == "message"

    async def event(self, kind: type) -> None:
        while not isinstance(await self._next(), kind):
            pass

    async def end(self) -> str:
        while not isinstance(how := await self._next(), str) or how in ("ready", "message"):
            pass
        return how

    async def _next(self) -> Event | str:
        return await asyncio.wait_for(self.told.get(), PATIENCE_SECONDS)


def supervised(
    test: Callable[[Worker, Recorder], Awaitable[None]], configure: Configure, command: Sequence[str] = ()
) -> None:
    """Runs a test with a worker that is stopped after it."""

    async def run() -> None:
        recorder = Recorder()
        standby = Standby(command or worker_command("tests.service.fake:load"))
        worker = Worker(0, standby, configure, recorder)
        worker.patience = Heard(configure, lambda: recorder.told.put_nowait("message"))
        worker.start()
        try:
            await test(worker, recorder)
        finally:
            await worker.stop()
            await standby.stop()

    with contextlib.chdir(ROOT):  # where the worker finds its modules
        asyncio.run(run())
