"""The HTTP side of the engine: owns the accepted jobs, whatever happens to the process that does them.

A job is accepted or refused at once. It is sent to the worker; if the worker dies, it is sent to
the next one, and since its seed is fixed it gives the same image. Jobs that were running in a
crash are sent again one by one, so that a job which brings the worker down is found: running in a
second crash, it fails alone. Every job ends exactly once.

Knows no HTTP, and no model beyond what the worker tells of it. Everything runs in the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from service.books import Accepted, Books
from service.errors import (
    JobCancelled,
    JobCrashed,
    JobExpired,
    JobFailed,
    NotReady,
    Problem,
    QueueFull,
    ShuttingDown,
    StartError,
)
from service.job import Job, JobEnd, Outcome, Started, Stepped
from service.messages import CancelJob, Configure, Fatal, FromWorker, Loading, ModelInfo, Ready, SubmitJob
from service.supervisor import Supervisor

MAX_CRASHES = 2
MAX_FAILED_STARTS = 5
RETRY_WHEN_LOADING_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether new work would be started now; if not, why not, in words."""

    is_ready: bool
    reason: str = ""


@dataclass(slots=True)
class _WorkerState:
    """What is known of the present worker, or of the last one."""

    is_up: bool = False
    is_told_end: bool = False
    loading: str = ""
    failed_starts: int = 0
    last_end: str = ""


class Front:
    """Accepts jobs and sees each to its end. Made inside a running event loop.

    Args:
        command: how to start a worker, see `service.supervisor`.
        configure: what the worker is to load.
        max_queue_sequences: most sequences accepted and not finished.
    """

    def __init__(self, command: Sequence[str], configure: Configure, *, max_queue_sequences: int) -> None:
        self.models: dict[int, ModelInfo] = {}
        self.fatal: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()
        self._books = Books()
        self._supervisor = Supervisor(command, configure, self)
        self._max_queue_sequences = max_queue_sequences
        self._ids = itertools.count(1)
        self._worker = _WorkerState()
        self._is_draining = False
        self._emptied = asyncio.Event()

    @property
    def readiness(self) -> Readiness:
        """Whether new work would be started now, and why not."""
        if self._is_draining:
            return Readiness(False, "shutting down: admitted work is being finished, new work is refused")
        if self._worker.is_up:
            return Readiness(True)
        if self._worker.failed_starts >= MAX_FAILED_STARTS:
            return Readiness(False, f"the worker failed to start {self._worker.failed_starts} times, "
                                    f"the last time by {self._worker.last_end}; the log says more")  # fmt: skip
        if self._worker.loading:
            return Readiness(False, f"loading {self._worker.loading}")
        if self.models:
            return Readiness(False, f"the worker ended ({self._worker.last_end}) and is being replaced")
        return Readiness(False, "the worker is starting")

    @property
    def books(self) -> Books:
        """The accepted jobs, to be read."""
        return self._books

    @property
    def worker_pid(self) -> int | None:
        """The present worker's process id."""
        return self._supervisor.pid

    def start(self) -> None:
        """Starts the worker; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """Ends the worker."""
        await self._supervisor.stop()

    def next_job_id(self) -> int:
        """A number for a new job."""
        return next(self._ids)

    def check_open(self) -> None:
        """Refuses work that cannot be taken now, before anything else is looked at.

        Raises:
            ShuttingDown: no new work is taken.
            NotReady: no model is loaded, or it cannot be started.
        """
        if self._is_draining:
            raise ShuttingDown("new work is refused; admitted work is being finished")
        if not self.models or self._worker.failed_starts >= MAX_FAILED_STARTS:
            raise NotReady(self.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)

    def submit(self, jobs: Sequence[Job]) -> list[Accepted]:
        """Accepts all of these jobs or none.

        Raises:
            ShuttingDown: no new work is taken.
            NotReady: no model is loaded, or it cannot be started.
            QueueFull: their sequences would pass the bound; says when to come back.
        """
        self.check_open()
        needed = sum(job.sequences for job in jobs)
        free = self._max_queue_sequences - self._books.sequences
        if needed > free:
            seconds = self._books.estimate.seconds_until_free(needed - free, self._books.sequences)
            raise QueueFull(
                f"{self._books.sequences} of {self._max_queue_sequences} sequences are taken and this request needs "
                f"{needed}; room is expected in {seconds} seconds",
                retry_after=seconds,
            )
        accepted = [self._books.enter(job) for job in jobs]
        self._send_unsent()
        return accepted

    async def results(self, accepted: Sequence[Accepted]) -> list[JobEnd]:
        """The ends of jobs that belong together, in order; they are given up if one fails or nobody waits any more.

        Raises:
            Problem: one of them came to no image.
        """
        try:
            waiting = {each.result for each in accepted}
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for problem in (future.result() for future in done):
                    if isinstance(problem, Problem):
                        raise problem
        finally:
            self.give_up(accepted)
        return [end for each in accepted if isinstance(end := each.result.result(), JobEnd)]

    def give_up(self, accepted: Sequence[Accepted], outcome: Outcome = Outcome.CANCELLED) -> None:
        """Ends jobs that nobody waits for: a sent one as soon as the worker has freed its row, others at once."""
        for each in accepted:
            if each.given_up is not None or each.result.done():
                continue
            each.given_up = outcome
            if each.is_sent:
                each.result.set_result(_told(outcome))
                self._supervisor.send(CancelJob(each.job.id))
            else:
                self._end(each, JobEnd(each.job.id, outcome), _told(outcome))

    async def drain(self, seconds: float) -> bool:
        """Refuses new work and lets admitted work finish; whether all of it did within these seconds."""
        self._is_draining = True
        if not len(self._books):
            return True
        try:
            await asyncio.wait_for(self._emptied.wait(), seconds)
        except TimeoutError:
            self.give_up(list(self._books), Outcome.EXPIRED)
            return False
        return True

    def worker_said(self, message: FromWorker) -> None:
        """Takes in a message of the worker."""
        match message:
            case Loading(model):
                self._worker.loading = PurePath(model).name
                fields = {"event": "loading", "model": self._worker.loading}
                logging.getLogger("dit.front").info("loading", extra={"fields": fields})
            case Ready(models):
                self._worker_ready({model.resolution: model for model in models})
            case Fatal():
                self._worker_fatal(message)
            case Started() | Stepped():
                self._books.note(message)
            case JobEnd():
                self._job_ended(message)

    def worker_ended(self, how: str) -> None:
        """The worker is gone: what it had goes to the next one, except what has to end here."""
        worker = self._worker
        worker.failed_starts = 0 if worker.is_up else worker.failed_starts + 1
        if not worker.is_told_end:
            worker.last_end = how
        worker.is_up = worker.is_told_end = False
        worker.loading = ""
        fields = {"event": "worker_ended", "how": how, "failed_starts": worker.failed_starts}
        logging.getLogger("dit.front").error("the worker ended", extra={"fields": fields})
        self._books.note_crash()
        for each in self._books:
            if each.given_up is not None:
                self._end(each, JobEnd(each.job.id, each.given_up), _told(each.given_up))
            elif each.crashes >= MAX_CRASHES:
                detail = "the worker process ended twice while this image was being made; it is not tried again"
                self._end(each, JobEnd(each.job.id, Outcome.FAILED, reason=how), JobCrashed(detail))
            elif worker.failed_starts >= MAX_FAILED_STARTS:
                self._end(each, JobEnd(each.job.id, Outcome.FAILED, reason=how), NotReady(self.readiness.reason))

    def supervision_ended(self, error: BaseException) -> None:
        """A defect of ours: nothing can be served any more."""
        logging.getLogger("dit.front").error("the supervisor failed", exc_info=error)
        self._stop_for_good(f"internal error: {type(error).__name__}; the log has it")

    def _send_unsent(self) -> None:
        while self._worker.is_up and (accepted := self._books.next_unsent()) is not None:
            self._supervisor.send(SubmitJob(accepted.job))

    def _worker_ready(self, models: dict[int, ModelInfo]) -> None:
        if self.models and models != self.models:  # the jobs on the books would not give what was promised
            self._stop_for_good("the models' files have changed under the running service: start it again")
            return
        self.models = models
        self._worker.is_up = True
        self._worker.failed_starts = 0
        self._worker.loading = ""
        fields = {"event": "ready", "models": [model.name for model in models.values()], "worker_pid": self.worker_pid}
        logging.getLogger("dit.front").info("ready", extra={"fields": fields})
        self._send_unsent()

    def _worker_fatal(self, message: Fatal) -> None:
        self._worker.last_end = message.error
        self._worker.is_told_end = True
        logging.getLogger("dit.front").error("the worker cannot start: %s", message.sentence)
        if message.is_permanent and not self.models:
            self._stop_for_good(message.sentence)

    def _stop_for_good(self, sentence: str) -> None:
        if not self.fatal.done():
            self.fatal.set_result(StartError(sentence))

    def _job_ended(self, end: JobEnd) -> None:
        accepted = self._books.find(end.job_id)
        if accepted is None:
            return
        if accepted.given_up is not None:
            self._end(accepted, JobEnd(end.job_id, accepted.given_up, timings=end.timings), _told(accepted.given_up))
        elif end.outcome is Outcome.COMPLETED:
            self._end(accepted, end, None)
        else:
            self._end(accepted, end, JobFailed("an error came up while this image was being made; the log has it"))

    def _end(self, accepted: Accepted, end: JobEnd, problem: Problem | None) -> None:
        self._books.end(accepted, end, problem)
        if self._is_draining and not len(self._books):
            self._emptied.set()
        self._send_unsent()


def _told(outcome: Outcome) -> Problem:
    """What the client of a job that was given up is told."""
    if outcome is Outcome.EXPIRED:
        return JobExpired("the service was shut down before the image was finished")
    return JobCancelled("the client went away")
