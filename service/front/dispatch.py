"""Which waiting job goes to which worker, and when.

The oldest job goes to the worker with the least work left among those that have room. With several workers none is
sent more than some batches ahead, so that a worker that comes back finds work to take, and at the end of a burst all
end together; a single one is sent everything, and its own queue (`service.engine.queue`) sees all groups.

Jobs that were running when a worker was lost are suspects: each is tried alone, on a worker that has nothing else, so
that the one that brings workers down does so alone. The others go on in batches meanwhile. Only when every other worker
is busy and no new one is on its way does one of them take no more jobs until it is free for the suspects.

Knows no process and no clock; a choice costs O(workers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dit_serve.service.front.ledger import Accepted, Ledger, Load

WINDOW_BATCHES = 4


class Runner(Protocol):
    """A worker, as far as the choice depends on it."""

    @property
    def number(self) -> int: ...

    @property
    def is_up(self) -> bool:
        """Whether it takes jobs."""

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits for it."""

    @property
    def places(self) -> Mapping[str, int]:
        """The most rows that a batch of each model may have there."""


class Dispatch:
    """Chooses for one ledger.

    Args:
        ledger: what waits, and what each worker has.
        workers: in the order of their numbers.
    """

    def __init__(self, ledger: Ledger, workers: Sequence[Runner]) -> None:
        self._ledger = ledger
        self._workers = workers
        self._cleared: Runner | None = None  # takes no more jobs, to become free for a suspect

    def send_next(self) -> Accepted | None:
        """The next job, moved to the worker that it is to be sent to; None if nothing can be sent now."""
        return self._send_suspect() or self._send_waiting()

    def _send_suspect(self) -> Accepted | None:
        suspect = self._ledger.oldest_suspect
        free = [worker for worker in self._workers if worker.is_up and not self._load(worker).held]
        if suspect is None or not free:
            return None
        self._cleared = None
        return self._sent(suspect, free[0])

    def _send_waiting(self) -> Accepted | None:
        workers = self._open_workers()
        for accepted in self._ledger.heads:
            able = [worker for worker in workers if self._has_room(worker, accepted)]
            if able:
                return self._sent(accepted, self._idlest(able))
        return None

    def _open_workers(self) -> list[Runner]:
        trying = [worker for worker in self._workers if self._load(worker).is_trying_a_suspect]
        able = [worker for worker in self._workers if worker.is_up and worker not in trying]
        is_place_coming = trying or any(not worker.is_up and not worker.is_given_up for worker in self._workers)
        if self._ledger.oldest_suspect is None or is_place_coming:
            self._cleared = None
        elif able and self._cleared not in able:
            self._cleared = self._idlest(able)
        return [worker for worker in able if worker is not self._cleared]

    def _has_room(self, worker: Runner, accepted: Accepted) -> bool:
        """Whether a worker that has this job too is not sent too far ahead; who has nothing always has room."""
        job, held = accepted.job, self._load(worker).sequences[accepted.job.model]
        return len(self._workers) == 1 or not held or held + job.sequences <= WINDOW_BATCHES * worker.places[job.model]

    def _idlest(self, workers: Sequence[Runner]) -> Runner:
        return min(workers, key=lambda worker: (self._load(worker).estimate.seconds(), len(self._load(worker).held)))

    def _load(self, worker: Runner) -> Load:
        return self._ledger.loads[worker.number]

    def _sent(self, accepted: Accepted, worker: Runner) -> Accepted:
        self._ledger.send(accepted, worker.number)
        return accepted
