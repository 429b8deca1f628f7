"""A worker: keeps a process alive on one device, listens to it, and takes another when it ends, hangs or is silent.

What is known of the present process is its `Life`, a frozen value that is replaced as it goes on; the worker itself
keeps what outlives a process. When the next one comes, `service.workers.starts` says. When a process says that its work
is overdue it is killed, and also when it says nothing for longer than `service.workers.patience` bears, or when its
`Owner` has no use for what it loaded. Tells its owner what happens; which jobs there are and what becomes of them is
the owner's affair. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import WireError
from dit_serve.service.wire.job import Event, Shrunk, Started, Stepped
from dit_serve.service.wire.messages import Configure, Fatal, FromWorker, Heartbeat, Imported, Loading, Ready, ToWorker
from dit_serve.service.workers.child import Child
from dit_serve.service.workers.life import Life, State
from dit_serve.service.workers.patience import Patience
from dit_serve.service.workers.placement import Placement
from dit_serve.service.workers.standby import Standby
from dit_serve.service.workers.starts import Starts


class Owner(Protocol):
    """Who has workers; called in the event loop."""

    def why_refused(self, models: Mapping[str, ModelInfo]) -> str:
        """Why a worker that loaded these is of no use, in a sentence; empty if it is."""

    def worker_ready(self, worker: Worker) -> None:
        """It takes jobs."""

    def worker_told(self, worker: Worker, event: Event) -> None:
        """Something happened to its jobs."""

    def worker_lost(self, worker: Worker, how: str) -> None:
        """The process is gone, and everything that it said has been told; another one follows."""

    def cannot_load(self, why: Fatal) -> None:
        """A worker that never was up cannot load what it was told to, and would fail so again."""

    def stop_for_good(self, sentence: str) -> None:
        """Nothing can be served any more."""


class Worker:
    """The worker of one device.

    Args:
        number: which one.
        standby: where its processes come from.
        configure: the first message to each.
        owner: who wants to know.

    Attributes:
        life: of the present process, or the last one.
        starts: how they went.
        patience: with the present process.
    """

    def __init__(self, number: int, standby: Standby, configure: Configure, owner: Owner) -> None:
        self.number = number
        self.life = Life()
        self.starts = Starts()
        self.patience = Patience(configure.silence_seconds, configure.step_timeout_seconds, standby.importing)
        self._standby = standby
        self._configure = configure
        self._owner = owner
        self._last = Life()  # the life before this one
        self._was_ever_up = False
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it takes jobs."""
        return self.life.state is State.UP

    @property
    def places(self) -> Mapping[str, int]:
        """The most rows that a batch of each model may have."""
        return self.life.places

    @property
    def is_given_up(self) -> bool:
        """Whether it is not up and nobody waits for it, though it is tried again."""
        return not self.is_up and (self.starts.is_hopeless or self.is_refused)

    @property
    def is_refused(self) -> bool:
        """Whether it is not up, and the last time that it would have been, it had loaded something else."""
        return not self.is_up and self._ended_life.is_refused

    @property
    def name(self) -> str:
        """For people: "worker 1 (cuda:1)"."""
        device = self._configure.options.device
        return f"worker {self.number}" + (f" ({device})" if device else "")

    @property
    def trouble(self) -> str:
        """Why it is not up, in words; empty if it is."""
        if self.is_up:
            return ""
        last = self._ended_life
        if last.is_refused:
            return last.error
        if self._standby.no_room and self.life.pid is None:
            return f"the worker cannot be started ({self._standby.no_room}); it is tried again"
        if self.is_given_up:
            times = f"{self.starts.failed} times, the last time by {last.error or last.how_it_ended}"
            return f"the worker failed to start {times}; the log says more"
        if self.life.loading:
            return f"loading {self.life.loading}"
        if self._was_ever_up and last.state is State.ENDED:
            return f"the worker ended ({last.error or last.how_it_ended}) and is being replaced"
        return "the worker is starting"

    @property
    def _ended_life(self) -> Life:
        """The last one that has ended; an empty one if none has."""
        return self.life if self.life.state is State.ENDED else self._last

    def start(self) -> None:
        """Begins to keep a process alive; returns at once."""
        self._keeper = asyncio.create_task(self._keep_alive(), name=f"worker-{self.number}")
        self._keeper.add_done_callback(self._on_kept)

    async def stop(self) -> None:
        """Ends the process for good, by closing its socket."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    def send(self, message: ToWorker) -> None:
        """Sends a message to the present process; without one it is lost, as it would be in a crash."""
        if self._child is not None:
            self._child.send(message)

    def _on_kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:  # a defect of ours
            logging.getLogger("dit.front").error("the supervision failed", exc_info=error)
            self._owner.stop_for_good(f"internal error: {type(error).__name__}; the log has it")

    async def _keep_alive(self) -> None:
        while True:
            status = await self._live()
            self._end(status)
            await asyncio.sleep(self.starts.pause_seconds)

    async def _live(self) -> str:
        """Takes a process and listens until its end: how it ended, as the system tells it."""
        self._last, self.life = self._ended_life, Life()
        try:
            self._child = child = await self._standby.take()
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self.life = replace(self.life, pid=child.pid)
        self.patience.began(is_called=child.is_imported)
        try:
            await self._converse(child)
        finally:
            status = await child.end()
            self._child = None
        return status

    async def _converse(self, child: Child) -> None:
        """Says what to load, and listens until the socket closes."""
        watching = asyncio.create_task(self._watch(), name=f"watch-{self.number}")
        child.hear = self._take_in
        child.send(self._configure)
        try:
            await asyncio.wait({child.listening, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            await child.listening
        except WireError as error:
            logging.getLogger("dit.front").error("the worker is replaced: %s", error)
        finally:
            watching.cancel()

    def _take_in(self, message: FromWorker) -> None:
        self.patience.heard()
        match message:
            case Imported():
                self.patience.imported()
            case Loading(model):
                self.patience.answered()
                self.life = replace(self.life, loading=PurePath(model).name)
                self._log("loading", model=self.life.loading)
            case Ready():
                self._ready(message)
                self._standby.prepare()  # now that nobody starts and needs the cores
            case Fatal():
                self._fatal(message)
            case Heartbeat(overdue):
                if overdue:
                    self._kill(f"hung in {overdue}")
            case event:
                self._note(event)
                self._owner.worker_told(self, event)

    def _note(self, event: Event) -> None:
        """Keeps what of its jobs' events concerns the worker itself."""
        match event:
            case Started():
                self.life = replace(self.life, has_worked=True)
            case Stepped(seconds=seconds):
                self.patience.stepped(seconds)
            case Shrunk(model, most):
                self.life = replace(self.life, places={**self.life.places, model: most})
            case _:
                pass

    def _ready(self, message: Ready) -> None:
        models = {model.name: model for model in message.models}
        if refusal := self._owner.why_refused(models):
            self.life = replace(self.life, error=refusal, is_refused=True)
            logging.getLogger("dit.front").error("%s is not used: %s", self.name, refusal)
            self._kill("refused for what it loaded")
            return
        now = asyncio.get_running_loop().time()
        self.life = replace(
            self.life, state=State.UP, loading="", models=models, places=message.places, ready_at=now
        )
        self._was_ever_up = True
        self.patience.loaded()
        self._owner.worker_ready(self)
        self._log("ready", models=list(models), worker_pid=self.life.pid)

    def _fatal(self, message: Fatal) -> None:
        self.life = replace(self.life, error=message.error)
        logging.getLogger("dit.front").error("%s cannot start: %s", self.name, message.sentence)
        if message.is_permanent and not self._was_ever_up:
            self._owner.cannot_load(message)

    def _end(self, status: str) -> None:
        self.starts.ended(self.life, asyncio.get_running_loop().time())
        self.life = replace(self.life, state=State.ENDED, pid=None, how_it_ended=self.life.how_it_ended or status)
        self._log("worker_ended", logging.ERROR, how=self.life.how_it_ended, failed_starts=self.starts.failed)
        self._owner.worker_lost(self, self.life.how_it_ended)

    async def _watch(self) -> None:
        """Kills a process that is silent for too long."""
        self._kill(await self.patience.ends())

    def _kill(self, why: str) -> None:
        if self._child is not None and self._child.is_running:
            self.life = replace(self.life, how_it_ended=self.life.how_it_ended or why)
            self._child.kill()

    def _log(self, event: str, level: int = logging.INFO, **values: object) -> None:
        fields = {"event": event, "worker": self.number, **values}
        logging.getLogger("dit.front").log(level, event.replace("_", " "), extra={"fields": fields})


def worker_command(loader: str) -> list[str]:
    """The command that starts a worker process, for `service.workers.standby`."""
    # -P: the folder in which somebody starts the server is no place to import code from
    return [sys.executable, "-P", "-m", "dit_serve.service.workers.process", "{fd}", loader]


def make_standby(command: Sequence[str], placement: Placement) -> Standby:
    """Where all workers' processes come from."""
    return Standby(command, threads=placement.threads, is_wanted=placement.keeps_standby)


def make_workers(
    standby: Standby, configure: Configure, placement: Placement, owner: Owner
) -> tuple[Worker, ...]:
    """One worker a device."""
    return tuple(
        Worker(number, standby, replace(configure, options=replace(configure.options, device=device)), owner)
        for number, device in enumerate(placement.devices)
    )
