"""One worker after the other on one device, as the front knows them: what it loads, whether it is up, how it ended.

Stands between a `service.workers.supervisor`, which keeps a process alive, and the front, which owns the
jobs: keeps the state, writes the log, and puts into words why a worker is not up. Knows no job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol

from dit_serve.service.wire.job import Event
from dit_serve.service.wire.messages import Configure, Fatal, FromWorker, Heartbeat, Loading, ModelInfo, Ready, ToWorker
from dit_serve.service.workers.placement import Placement
from dit_serve.service.workers.standby import Standby
from dit_serve.service.workers.supervisor import Supervisor

MAX_FAILED_STARTS = 5


class Owner(Protocol):
    """Who has workers; called in the event loop."""

    def worker_ready(self, worker: Worker, models: dict[int, ModelInfo]) -> None:
        """It takes jobs."""

    def worker_told(self, worker: Worker, event: Event) -> None:
        """Something happened to its jobs."""

    def worker_lost(self, worker: Worker, how: str) -> None:
        """The process is gone, and everything that it said has been told; another one follows."""

    def stop_for_good(self, sentence: str) -> None:
        """Nothing can be served any more."""


class Worker:
    """The worker of one device.

    Args:
        number: which one.
        standby: where its processes come from.
        configure: what it is to load, and where.
        owner: who wants to know.
    """

    def __init__(self, number: int, standby: Standby, configure: Configure, owner: Owner) -> None:
        self.number = number
        self.device = configure.device
        self.failed_starts = 0
        self.is_up = False
        self._owner = owner
        self.models: dict[int, ModelInfo] = {}
        self._standby = standby
        self._supervisor = Supervisor(standby, configure, self)
        self._was_ever_up = False
        self._was_up_last = False
        self._is_told_end = False
        self._loading = ""
        self._last_end = ""

    @property
    def pid(self) -> int | None:
        """The present process's id, None between two."""
        return self._supervisor.pid

    @property
    def is_given_up(self) -> bool:
        """Whether it is not up and failed to start so often that nobody waits for it, though it is tried again."""
        return not self.is_up and self.failed_starts >= MAX_FAILED_STARTS

    @property
    def name(self) -> str:
        """For people: "worker 1 (cuda:1)"."""
        return f"worker {self.number}" + (f" ({self.device})" if self.device else "")

    @property
    def trouble(self) -> str:
        """Why it is not up, in words; empty if it is."""
        if self.is_up:
            return ""
        if self.is_given_up:
            what = "ended without having had any work" if self._was_up_last else "failed to start"
            return (f"the worker {what} {self.failed_starts} times, "
                    f"the last time by {self._last_end}; the log says more")  # fmt: skip
        if self._loading:
            return f"loading {self._loading}"
        if self._was_ever_up:
            return f"the worker ended ({self._last_end}) and is being replaced"
        return "the worker is starting"

    def start(self) -> None:
        """Begins to keep a process alive; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """Ends it for good, and with it the process that stands by."""
        await self._supervisor.stop()
        await self._standby.stop()

    def send(self, message: ToWorker) -> None:
        """Sends a message to the present process; without one it is lost, as it would be in a crash."""
        self._supervisor.send(message)

    def worker_said(self, message: FromWorker) -> None:
        """Takes in a message of the process."""
        match message:
            case Loading(model):
                self._loading = PurePath(model).name
                self._log("loading", model=self._loading)
            case Ready(models):
                self._ready({model.resolution: model for model in models})
            case Fatal():
                self._fatal(message)
            case Heartbeat():
                pass  # the supervisor's affair
            case _:
                self._owner.worker_told(self, message)

    def worker_ended(self, how: str, *, has_failed_to_start: bool) -> None:
        """The process is gone, and another one follows."""
        self.failed_starts = self.failed_starts + 1 if has_failed_to_start else 0
        self._was_up_last = self.is_up
        if not self._is_told_end:
            self._last_end = how
        self.is_up = self._is_told_end = False
        self._loading = ""
        self._log("worker_ended", logging.ERROR, how=how, failed_starts=self.failed_starts)
        self._owner.worker_lost(self, how)

    def supervision_ended(self, error: BaseException) -> None:
        """A defect of ours: no other process follows."""
        logging.getLogger("dit.front").error("the supervisor failed", exc_info=error)
        self._owner.stop_for_good(f"internal error: {type(error).__name__}; the log has it")

    def _ready(self, models: dict[int, ModelInfo]) -> None:
        self.is_up = self._was_ever_up = True
        self.models = models
        self._loading = ""
        self._owner.worker_ready(self, models)
        self._log("ready", models=[model.name for model in models.values()], worker_pid=self.pid)

    def _fatal(self, message: Fatal) -> None:
        self._last_end = message.error
        self._is_told_end = True
        logging.getLogger("dit.front").error("%s cannot start: %s", self.name, message.sentence)
        if message.is_permanent and not self._was_ever_up:
            self._owner.stop_for_good(message.sentence)

    def _log(self, event: str, level: int = logging.INFO, **values: object) -> None:
        fields = {"event": event, "worker": self.number, **values}
        logging.getLogger("dit.front").log(level, event.replace("_", " "), extra={"fields": fields})


def make_workers(
    command: Sequence[str], configure: Configure, placement: Placement, owner: Owner
) -> tuple[Worker, ...]:
    """One worker a device, whose processes come from one place."""
    standby = Standby(command, threads=placement.threads, is_wanted=placement.keeps_standby)
    return tuple(
        Worker(number, standby, replace(configure, device=device), owner)
        for number, device in enumerate(placement.devices)
    )
