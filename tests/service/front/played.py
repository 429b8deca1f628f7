"""A service played on a clock of its own: the books, and workers that make steps as the engine does. Nothing waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dit_serve.models.options import SampleSpec
from dit_serve.service.engine.queue import JobQueue
from dit_serve.service.errors import Problem
from dit_serve.service.front.admission import Admission
from dit_serve.service.front.dispatch import Dispatch
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped, Timings
from tests.service.fake import FakeDoor

PLACES = 16
ON_PROCESSOR = {"a": FakeDoor().info}
Price = Callable[[str, int], float]


@dataclass
class PlayedRow:
    job: Job
    left: int
    done_at: float = 0.0


@dataclass
class PlayedWorker:
    """What the engine has, and the loop that takes it further."""

    number: int
    is_up: bool = True
    is_given_up: bool = False
    places: dict[str, int] = field(default_factory=dict)
    queue: JobQueue = field(default_factory=JobQueue)
    rows: dict[str, list[PlayedRow]] = field(default_factory=dict)
    undecoded: list[PlayedRow] = field(default_factory=list)
    turns: dict[str, int] = field(default_factory=dict)
    turn: int = 0
    is_busy: bool = False
    cancelled: set[int] = field(default_factory=set)


class Played:
    """The service.

    Args:
        workers: how many.
        models: their names.
        step: seconds of a step of a model with so many sequences.
        decode: seconds of decoding an image of a model.
        bound: most sequences accepted.
    """

    def __init__(
        self, workers: int, models: Sequence[str], step: Price, decode: Callable[[str], float], bound: int = 512
    ) -> None:
        self.now = 1000.0
        self.step, self.decode = step, decode
        self.workers = [PlayedWorker(number, places=dict.fromkeys(models, PLACES)) for number in range(workers)]
        for worker in self.workers:
            worker.rows = {model: [] for model in models}
            worker.turns = dict.fromkeys(models, 0)
        self.ledger = Ledger(workers, clock=self.clock)
        self.outlook = Outlook(self.ledger, self.workers, PLACES, lambda: ON_PROCESSOR, clock=self.clock)
        self.admission = Admission(self.ledger, self.outlook, bound, clock=self.clock)
        self._dispatch = Dispatch(self.ledger, self.workers)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.watched: list[Callable[[], bool]] = []  # asked after everything that happens, until they say yes

    def clock(self) -> float:
        return self.now

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Has something happen later."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def run(self, until: float = float("inf")) -> None:
        """Lets time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
            for look in list(self.watched):
                if look():
                    self.watched.remove(look)
        self.now = max(self.now, until) if until < float("inf") else self.now

    def ask(
        self, model: str = "a", *, steps: int = 10, scale: float = 4.0, count: int = 1, deadline: float | None = None
    ) -> list[Accepted] | Problem:
        """What a request is answered: its jobs in the books, or why not."""
        return self.ask_all([(model, SampleSpec(0, k, steps, scale)) for k in range(count)], deadline)

    def ask_all(
        self, images: Sequence[tuple[str, SampleSpec]], deadline: float | None = None
    ) -> list[Accepted] | Problem:
        """What a request of different images is answered."""
        first = self._count + 1
        self._count += len(images)
        jobs = [Job(first + k, "r", model, spec) for k, (model, spec) in enumerate(images)]
        if (problem := self.admission.refusal(jobs, deadline)) is not None:
            return problem
        accepted = [self.ledger.enter(job, deadline) for job in jobs]
        if deadline is not None:
            self.at(self.now + deadline, lambda: self.give_up(accepted, Outcome.EXPIRED))
        self._send()
        return accepted

    def give_up(self, accepted: Sequence[Accepted], outcome: Outcome = Outcome.CANCELLED) -> None:
        """Ends jobs as if nobody waited for them."""
        for each in accepted:
            if each.given_up is None and not each.result.done():
                each.given_up = outcome
                if each.worker is None:
                    self.ledger.end(each, JobEnd(each.job.id, outcome))
                else:
                    self.workers[each.worker].cancelled.add(each.job.id)
                    self._go_on(self.workers[each.worker])
        self._send()

    def _send(self) -> None:
        while (accepted := self._dispatch.send_next()) is not None:
            assert accepted.worker is not None
            worker = self.workers[accepted.worker]
            worker.queue.push(accepted.job)
            self.at(self.now, lambda worker=worker: self._go_on(worker))  # type: ignore[misc]

    def _go_on(self, worker: PlayedWorker) -> None:
        if worker.is_busy:
            return
        self._cancel(worker)
        if worker.undecoded:
            row = worker.undecoded.pop(0)
            self._busy(worker, self.decode(row.job.model), lambda: self._decoded(row))
            return
        able = [model for model, rows in worker.rows.items() if rows or worker.queue.age(model) is not None]
        if able:
            model = min(able, key=lambda name: (worker.turns[name], worker.queue.age(name) or 0))
            self._step(worker, model)

    def _step(self, worker: PlayedWorker, model: str) -> None:
        worker.turn += 1
        worker.turns[model] = worker.turn
        rows = worker.rows[model]
        taken = worker.queue.take(model, PLACES - sum(row.job.sequences for row in rows))
        if taken:
            self.ledger.started(Started(tuple(job.id for job in taken), self.now))
            rows += [PlayedRow(job, job.spec.steps) for job in taken]
        sequences = sum(row.job.sequences for row in rows)
        seconds = self.step(model, sequences)
        self._busy(worker, seconds, lambda: self._stepped(worker, model, sequences, seconds))

    def _busy(self, worker: PlayedWorker, seconds: float, then: Callable[[], None]) -> None:
        def done() -> None:
            worker.is_busy = False
            then()
            self._send()
            self._go_on(worker)

        worker.is_busy = True
        self.at(self.now + seconds, done)

    def _stepped(self, worker: PlayedWorker, model: str, sequences: int, seconds: float) -> None:
        rows = worker.rows[model]
        ids = tuple(row.job.id for row in rows)
        self.ledger.stepped(Stepped(ids, model, sequences, seconds, self.now), worker.number)
        for row in rows:
            row.left -= 1
            row.done_at = self.now
        worker.undecoded += [row for row in rows if not row.left]
        worker.rows[model] = [row for row in rows if row.left]

    def _decoded(self, row: PlayedRow) -> None:
        if (accepted := self.ledger.find(row.job.id)) is not None:
            timings = Timings(decode=self.now - row.done_at)
            outcome = accepted.given_up or Outcome.COMPLETED
            self.ledger.end(accepted, JobEnd(row.job.id, outcome, timings=timings))

    def _cancel(self, worker: PlayedWorker) -> None:
        for job_id in worker.cancelled:
            worker.queue.cancel(job_id)
            for model, rows in worker.rows.items():
                worker.rows[model] = [row for row in rows if row.job.id != job_id]
            worker.undecoded = [row for row in worker.undecoded if row.job.id != job_id]
            accepted = self.ledger.find(job_id)
            if accepted is not None and accepted.given_up is not None:
                self.ledger.end(accepted, JobEnd(job_id, accepted.given_up))
        worker.cancelled.clear()
