"""A worker: keeps a process alive on one device, listens to it, and takes another when it ends, hangs or is silent.

What is known of the present process is its `Life`, a frozen value that is replaced as it goes on; the worker itself
keeps what outlives a process. A worker that ends having had no work, soon after it was ready or before, has failed to
start: the next one comes after a longer pause. When a process says that its work is overdue it is killed, and also when
it says nothing for longer than `service.workers.patience` bears. Tells its `Owner` what happens; which jobs there are
and what becomes of them is the owner's affair. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol

from dit_serve.service.errors import WireError
from dit_serve.service.wire.frames import pack, receive_async
from dit_serve.service.wire.job import Event, Shrunk, Started, Stepped
from dit_serve.service.wire.messages import Configure, Fatal, FromWorker, Heartbeat, Loading, Message, Ready, ToWorker
from dit_serve.service.workers.life import Life, State
from dit_serve.service.workers.patience import Patience
from dit_serve.service.workers.placement import Placement
from dit_serve.service.workers.standby import Standby, ended

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
MAX_FAILED_STARTS = 5
STEADY_SECONDS = 30.0  # a worker without work that lives longer has not failed to start


class Owner(Protocol):
    """Who has workers; called in the event loop."""

    def worker_ready(self, worker: Worker) -> None:
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
        configure: the first message to each.
        owner: who wants to know.

    Attributes:
        life: of the present process, or the last one.
        failed_starts: how many in a row.
    """

    def __init__(self, number: int, standby: Standby, configure: Configure, owner: Owner) -> None:
        self.number = number
        self.life = Life()
        self.failed_starts = 0
        self.patience = Patience(configure.silence_seconds, configure.step_timeout_seconds)
        self._standby = standby
        self._configure = configure
        self._owner = owner
        self._last: Life | None = None  # the life before this one
        self._was_ever_up = False
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
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
        """Whether it is not up and failed to start so often that nobody waits for it, though it is tried again."""
        return not self.is_up and self.failed_starts >= MAX_FAILED_STARTS

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
        last = self.life if self.life.state is State.ENDED else self._last
        if self.is_given_up and last is not None:
            what = "ended without having had any work" if last.ready_at else "failed to start"
            times = f"{self.failed_starts} times, the last time by {last.error or last.how_it_ended}"
            return f"the worker {what} {times}; the log says more"
        if self.life.loading:
            return f"loading {self.life.loading}"
        if self._was_ever_up and last is not None:
            return f"the worker ended ({last.error or last.how_it_ended}) and is being replaced"
        return "the worker is starting"

    def start(self) -> None:
        """Begins to keep a process alive; returns at once."""
        self._keeper = asyncio.create_task(self._keep_alive(), name=f"worker-{self.number}")
        self._keeper.add_done_callback(self._on_kept)

    async def stop(self) -> None:
        """Ends the process for good, by closing its socket, and with it the one that stands by."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self._standby.stop()

    def send(self, message: ToWorker) -> None:
        """Sends a message to the present process; without one it is lost, as it would be in a crash."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(pack(message))

    def _on_kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:  # a defect of ours
            logging.getLogger("dit.front").error("the supervision failed", exc_info=error)
            self._owner.stop_for_good(f"internal error: {type(error).__name__}; the log has it")

    async def _keep_alive(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            status = await self._live()
            self._end(status)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS) if self.failed_starts else FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff)

    async def _live(self) -> str:
        """Takes a process and listens until its end: how it ended, as the system tells it."""
        self._last, self.life = self.life, Life()
        try:
            self._process, ours = await self._standby.take()
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self.life = replace(self.life, pid=self._process.pid)
        try:
            await self._converse(ours)
        finally:
            status = await ended(self._process)
            self._process = None
        return _describe(status)

    async def _converse(self, ours: socket.socket) -> None:
        """Says what to load, and listens until the socket closes."""
        reader, self._writer = await asyncio.open_connection(sock=ours)
        watching = asyncio.create_task(self._watch(), name=f"watch-{self.number}")
        try:
            self.send(self._configure)
            while (message := await receive_async(reader)) is not None:
                await self._take_in(_checked(message))
        except (WireError, ConnectionError) as error:
            logging.getLogger("dit.front").error("the worker is replaced: %s", error)
        finally:
            watching.cancel()
            self._writer.close()
            self._writer = None

    async def _take_in(self, message: FromWorker) -> None:
        self.patience.heard()
        match message:
            case Loading(model):
                self.life = replace(self.life, loading=PurePath(model).name)
                self._log("loading", model=self.life.loading)
            case Ready():
                self._ready(message)
                await self._standby.prepare()
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
            self._owner.stop_for_good(message.sentence)

    def _end(self, status: str) -> None:
        self.failed_starts = self.failed_starts + 1 if self._has_failed_to_start else 0
        self.life = replace(self.life, state=State.ENDED, pid=None, how_it_ended=self.life.how_it_ended or status)
        self.patience.ended()
        self._log("worker_ended", logging.ERROR, how=self.life.how_it_ended, failed_starts=self.failed_starts)
        self._owner.worker_lost(self, self.life.how_it_ended)

    @property
    def _has_failed_to_start(self) -> bool:
        """Whether the process ended without having been of use; one that dies of its work is no bad start."""
        now = asyncio.get_running_loop().time()
        return not self.life.ready_at or (not self.life.has_worked and now - self.life.ready_at < STEADY_SECONDS)

    async def _watch(self) -> None:
        """Kills a process that is silent for too long."""
        await self.patience.ends()
        self._kill(f"silent for {self.patience.seconds:.1f} s")

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self.life = replace(self.life, how_it_ended=self.life.how_it_ended or why)
            self._process.kill()

    def _log(self, event: str, level: int = logging.INFO, **values: object) -> None:
        fields = {"event": event, "worker": self.number, **values}
        logging.getLogger("dit.front").log(level, event.replace("_", " "), extra={"fields": fields})


def worker_command(loader: str) -> list[str]:
    """The command that starts a worker process, for `service.workers.standby`."""
    # -P: the folder in which somebody starts the server is no place to import code from
    return [sys.executable, "-P", "-m", "dit_serve.service.workers.process", "{fd}", loader]


def make_workers(
    command: Sequence[str], configure: Configure, placement: Placement, owner: Owner
) -> tuple[Worker, ...]:
    """One worker a device, whose processes come from one place."""
    standby = Standby(command, threads=placement.threads, is_wanted=placement.keeps_standby)
    return tuple(
        Worker(number, standby, replace(configure, options=replace(configure.options, device=device)), owner)
        for number, device in enumerate(placement.devices)
    )


def _checked(message: Message) -> FromWorker:
    if not isinstance(message, FromWorker):
        raise WireError(f"a worker does not say {message.kind}")
    return message


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
