"""The end of everything that was accepted, when nothing can be made any more: each job's client is told, once.

Knows no worker and no HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from dit_serve.service.errors import Problem, ShuttingDown
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.wire.job import JobEnd, Outcome

RETRY_WHEN_STARTED_AGAIN_SECONDS = 5


def ending_after_error() -> ShuttingDown:
    """What clients are told when the service ends by itself; why is in the log, as it may name files."""
    detail = "the service ends after an error; ask again when it is back"
    return ShuttingDown(detail, retry_after=RETRY_WHEN_STARTED_AGAIN_SECONDS)


def end_all(
    accepted: Iterable[Accepted],
    end: Callable[[Accepted, JobEnd, Problem], None],
    reason: str,
    told: Callable[[], Problem],
) -> None:
    """Ends jobs as failed, and those that nobody waits for as they were to end.

    Args:
        accepted: the jobs.
        end: takes one out of the books.
        reason: for the log.
        told: what a job's client is told.
    """
    for each in accepted:
        problem = told()
        try:
            end(each, JobEnd(each.job.id, each.given_up or Outcome.FAILED, reason=reason), problem)
        except Exception:  # what brought us here may be in the way of this too; the client is told all the same
            logging.getLogger("dit.front").exception("a job could not be ended in order")
            if not each.result.done():
                each.result.set_result(problem)
