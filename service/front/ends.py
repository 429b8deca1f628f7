"""What is said of a job: its lines in the log, and what the client of one that came to no image is told.

Knows no worker and no HTTP.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from dit_serve.service.errors import JobCancelled, JobExpired, Problem
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.wire.job import JobEnd, Outcome


def told_when_given_up(outcome: Outcome) -> Problem:
    """What the client of a job that was given up is told."""
    if outcome is Outcome.EXPIRED:
        return JobExpired("the deadline passed, or the service was shut down, before the image was finished")
    return JobCancelled("the client went away")


def with_whole_wait(accepted: Accepted, end: JobEnd) -> JobEnd:
    """The end of a job with all the time since its acceptance in its timings: what was no work is its wait."""
    waited = time.monotonic() - accepted.accepted_at - end.timings.total
    return replace(end, timings=replace(end.timings, queue=max(0.0, waited)))


def log_start(accepted: Accepted) -> None:
    """Writes, for who looks for a fault, that a job runs."""
    job = accepted.job
    fields = {"event": "job_started", "job_id": job.id, "request_id": job.request_id, "worker": accepted.worker}
    logging.getLogger("dit.job").debug("job started", extra={"fields": fields})


def log_end(accepted: Accepted, end: JobEnd, resolution: int) -> None:
    """Writes the one line of a job, at its end."""
    job = accepted.job
    fields = {
        "event": "job_end",
        "job_id": job.id,
        "request_id": job.request_id,
        "outcome": end.outcome.value,
        "worker": accepted.worker,
        "model": job.model,
        "resolution": resolution,
        "steps": job.spec.steps,
        "sampler": job.spec.sampler,
        **{f"{stage}_seconds": round(seconds, 6) for stage, seconds in end.timings.stages().items()},
        "crashes": accepted.crashes,
    }
    if end.reason:
        fields["reason"] = end.reason
    level = logging.ERROR if end.outcome is Outcome.FAILED else logging.INFO
    logging.getLogger("dit.job").log(level, "job %s", end.outcome.value, extra={"fields": fields})
