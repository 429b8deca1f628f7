"""The HTTP side of the engine: owns the accepted jobs, whatever happens to the process that does them.

A job is accepted or refused at once, and entered in the ledger. It is sent to a worker (`service.front.dispatch`); if
that one dies, it is sent again, and since its seed is fixed it gives the same image. Jobs that were running in a crash
are sent again one by one, so that a job which brings workers down is found: running in a second crash, alone, it fails.
Every job ends exactly once. Knows no HTTP, and no model beyond what the worker tells of it. Runs in the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from prometheus_client import CollectorRegistry

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import JobCrashed, JobFailed, NotReady, Problem, ShuttingDown, StartError
from dit_serve.service.front.admission import Admission
from dit_serve.service.front.aliases import with_aliases, wrong_alias
from dit_serve.service.front.dispatch import Dispatch
from dit_serve.service.front.ends import log_end, log_start, told_when_given_up, with_whole_wait
from dit_serve.service.front.fatal import end_all, ending_after_error
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.front.readiness import DRAINING, ENDING, Readiness, readiness_of
from dit_serve.service.front.weights import why_other
from dit_serve.service.telemetry.metrics import Metrics
from dit_serve.service.telemetry.traces import record_job
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Preview, Shrunk, Split, Started, Stepped
from dit_serve.service.wire.messages import CancelJob, Configure, Fatal, SubmitJob
from dit_serve.service.workers.placement import Placement
from dit_serve.service.workers.worker import Worker, make_standby, make_workers

MAX_CRASHES = 2
RETRY_WHEN_LOADING_SECONDS = 2


class Front:
    """Accepts jobs and sees each to its end. Made inside a running event loop.

    Args:
        command: how to start a worker, see `service.workers.worker`.
        configure: what the workers are to load.
        placement: where the workers run; one on the best device present if it is not said.
        max_queue_sequences: most sequences accepted and not finished.
        metrics: where everything is recorded, if anybody reads it.
        aliases: names of models by other names for them.

    Attributes:
        models: what is loaded, by name, the default one first; none before the first worker is up.
        ledger: the accepted jobs, to be read.
        outlook: when they will be done.
        fatal: set when nothing can be served any more.
    """

    def __init__(
        self, command: Sequence[str], configure: Configure, placement: Placement | None = None, *,
        max_queue_sequences: int, metrics: Metrics | None = None, aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.models: Mapping[str, ModelInfo] = {}
        self._aliases = aliases or {}
        self.fatal: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()
        self._standby = make_standby(command, placement or Placement())
        self._workers = make_workers(self._standby, configure, placement or Placement(), self)
        self.ledger = Ledger(len(self._workers))
        self._dispatch = Dispatch(self.ledger, self._workers)
        self._metrics = metrics or Metrics(CollectorRegistry())
        self._metrics.expect_workers(len(self._workers))
        self.outlook = Outlook(self.ledger, self._workers, configure.max_batch_sequences, lambda: self.models)
        self.admission = Admission(self.ledger, self.outlook, max_queue_sequences)
        self._ids = itertools.count(1)
        self._is_draining = False
        self._emptied = asyncio.Event()

    @property
    def named(self) -> Mapping[str, ModelInfo]:
        """The models by all names that requests may call them by, their own ones first."""
        return with_aliases(self.models, self._aliases) if self._aliases else self.models

    @property
    def readiness(self) -> Readiness:
        """Whether new work would be started now, and why not."""
        if self.fatal.done():
            return ENDING
        return DRAINING if self._is_draining else readiness_of(self._workers)

    @property
    def workers_up(self) -> tuple[bool, ...]:
        """Whether each worker takes jobs, in the order of their numbers."""
        return tuple(worker.is_up for worker in self._workers)

    @property
    def workers_refused(self) -> tuple[bool, ...]:
        """Whether each worker is kept out because it has loaded something else than is served."""
        return tuple(worker.is_refused for worker in self._workers)

    @property
    def standby_up(self) -> bool | None:
        """Whether a process stands by for a worker that dies; None if none is wanted."""
        return self._standby.is_up if self._standby.is_wanted else None

    def devices(self, model: str) -> list[str]:
        """Where a model runs: of each worker that is up."""
        return [worker.life.models[model].device for worker in self._workers if worker.is_up]

    def start(self) -> None:
        """Starts the workers; returns at once."""
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        """Ends the workers."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        await self._standby.stop()

    def next_job_id(self) -> int:
        """A number for a new job."""
        return next(self._ids)

    def check_open(self) -> None:
        """Refuses work that cannot be taken now, before anything else is looked at.

        Raises:
            ShuttingDown: no new work is taken.
            NotReady: no model is loaded, or it cannot be started.
        """
        if self.fatal.done():
            raise self._refused(ending_after_error())
        if self._is_draining:
            raise self._refused(ShuttingDown("new work is refused; admitted work is being finished"))
        if not self.models or self._is_hopeless:
            raise self._refused(NotReady(self.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS))

    def submit(self, jobs: Sequence[Job], deadline: float | None = None) -> list[Accepted]:
        """Accepts all of these jobs or none.

        Args:
            jobs: what is asked.
            deadline: by the event loop's clock; who waits gives the jobs up when it has passed. None for no deadline.

        Raises:
            ShuttingDown: no new work is taken.
            NotReady: no model is loaded, or it cannot be started.
            QueueFull: their sequences would pass the bound; says when to come back.
            DeadlineTooShort: they would not be done in time; says when to come back.
        """
        self.check_open()
        deadline_seconds = None if deadline is None else deadline - asyncio.get_running_loop().time()
        if (problem := self.admission.refusal(jobs, deadline_seconds)) is not None:
            raise self._refused(problem)
        accepted = [self.ledger.enter(job, deadline_seconds) for job in jobs]
        self._send_unsent()
        return accepted

    def _refused(self, problem: Problem) -> Problem:
        self._metrics.refused(problem.slug, problem.retry_after)
        return problem

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

    def give_up(self, accepted: Iterable[Accepted], outcome: Outcome = Outcome.CANCELLED) -> None:
        """Ends jobs that nobody waits for: a sent one as soon as the worker has freed its row, others at once."""
        for each in accepted:
            if each.given_up is not None or each.result.done():
                continue
            each.given_up = outcome
            if each.worker is not None:
                each.result.set_result(told_when_given_up(outcome))
                self._workers[each.worker].send(CancelJob(each.job.id))
            else:
                self._end(each, JobEnd(each.job.id, outcome), told_when_given_up(outcome))
        self._send_unsent()

    async def drain(self, seconds: float) -> bool:
        """Refuses new work and lets admitted work finish; whether all of it did within these seconds."""
        self._is_draining = True
        if not len(self.ledger):
            return True
        try:
            await asyncio.wait_for(self._emptied.wait(), seconds)
        except TimeoutError:
            self.give_up(list(self.ledger), Outcome.EXPIRED)
            return False
        return True

    def why_refused(self, models: Mapping[str, ModelInfo]) -> str:
        """Why a worker that loaded these is of no use, in a sentence; empty if it is."""
        return why_other(self.models, models)

    def worker_ready(self, worker: Worker) -> None:
        """A worker is up: it takes jobs."""
        self.models = self.models or worker.life.models
        if wrong := wrong_alias(self.models, self._aliases):
            self.stop_for_good(wrong)
        self._metrics.expect_models(self.models.values())
        self._count_workers()
        self._send_unsent()

    def worker_told(self, worker: Worker, event: Event) -> None:
        """Takes in what happened to a worker's jobs."""
        match event:
            case Started():
                for accepted in self.ledger.started(event):
                    log_start(accepted)
            case Stepped():
                self.ledger.stepped(event, worker.number)
                self._metrics.stepped(event)
            case Preview():
                if (looked_at := self.ledger.previewed(event)) is not None:
                    self._metrics.previewed(looked_at.job.model)
            case Split():
                self._metrics.split(event)
            case Shrunk():
                fields = {"event": "out_of_memory", "worker": worker.number, **asdict(event)}
                logging.getLogger("dit.front").warning("out of memory", extra={"fields": fields})
            case JobEnd():
                self._job_ended(event)

    def worker_lost(self, worker: Worker, how: str) -> None:
        """A worker is gone: what it had goes to another one, except what has to end here."""
        self._count_workers()
        lost = self.ledger.lost(worker.number)
        for each in lost:
            if each.given_up is not None:
                self._end(each, JobEnd(each.job.id, each.given_up), told_when_given_up(each.given_up))
            elif each.crashes >= MAX_CRASHES:
                detail = "the worker process ended twice while this image was being made; it is not tried again"
                self._end(each, JobEnd(each.job.id, Outcome.FAILED, reason=how), JobCrashed(detail))
        if all(worker.is_refused for worker in self._workers):
            self.stop_for_good(worker.trouble)
        elif self._is_hopeless:
            end_all(self.ledger, self._end, how, lambda: NotReady(self.readiness.reason))
        self._metrics.worker_lost(worker.number, sum(not each.result.done() for each in lost))
        self._send_unsent()

    def cannot_load(self, why: Fatal) -> None:
        """A worker cannot load its models: ends the start, unless others serve what has been damaged on disk since."""
        if not self.models or why.error == "DeviceError":
            self.stop_for_good(why.sentence)

    def stop_for_good(self, sentence: str) -> None:
        """Nothing can be served any more: new work is refused, and whoever waits for accepted work is told now."""
        if self.fatal.done():
            return
        self.fatal.set_result(StartError(sentence))
        end_all(self.ledger, self._end, sentence, ending_after_error)

    @property
    def _is_hopeless(self) -> bool:
        return all(worker.is_given_up for worker in self._workers)

    def _count_workers(self) -> None:
        self.ledger.estimate.workers = max(1, sum(worker.is_up for worker in self._workers))

    def _send_unsent(self) -> None:
        while (accepted := self._dispatch.send_next()) is not None:
            assert accepted.worker is not None
            self._workers[accepted.worker].send(SubmitJob(accepted.job))

    def _job_ended(self, end: JobEnd) -> None:
        accepted = self.ledger.find(end.job_id)
        if accepted is None:
            return
        if accepted.given_up is not None:
            end = JobEnd(end.job_id, accepted.given_up, timings=end.timings)
            self._end(accepted, end, told_when_given_up(accepted.given_up))
        elif end.outcome is Outcome.COMPLETED:
            self._end(accepted, end, None)
        else:
            self._end(accepted, end, JobFailed("an error came up while this image was being made; the log has it"))
        self._send_unsent()

    def _end(self, accepted: Accepted, end: JobEnd, problem: Problem | None) -> None:
        end = with_whole_wait(accepted, end)
        model = self.models[accepted.job.model]
        log_end(accepted, end, model.resolution)
        record_job(accepted.job, end, accepted.context)
        if end.outcome is Outcome.COMPLETED:
            self._metrics.completed(accepted.job.model, end, accepted.first_step_at - accepted.accepted_at)
        self.ledger.end(accepted, end, problem)
        if self._is_draining and not len(self.ledger):
            self._emptied.set()
