"""GET /v1/status: what a page, or a program that plans, wants to know every second or so: readiness, queue, pace.

All of it is in the front's books already; nothing is measured for it, and no worker is asked. Knows the front alone.
"""

from __future__ import annotations

from fastapi import APIRouter

from dit_serve.service.front.estimate import Pace
from dit_serve.service.front.front import Front
from dit_serve.service.http.openapi import problems
from dit_serve.service.http.schemas import ModelStatus, QueueAnswer, StatusAnswer

STATUS = "/v1/status"


def status_router(front: Front) -> APIRouter:
    """The router of the status."""
    router = APIRouter(tags=["catalogue"])

    @router.get(STATUS, responses=problems(401))
    async def status() -> StatusAnswer:
        """How much work is accepted, when it will be done, and what steps and images take; 200 if not ready, too."""
        readiness = front.readiness
        return StatusAnswer(
            ready=readiness.is_ready,
            reason=readiness.reason,
            workers=len(front.workers_up),
            workers_up=sum(front.workers_up),
            queue=_queue(front),
            models={name: _model(front, name) for name in front.models},
        )

    return router


def _queue(front: Front) -> QueueAnswer:
    ledger = front.ledger
    running = sum(jobs for (_, is_running), (jobs, _) in ledger.census.items() if is_running)
    return QueueAnswer(
        running=running,
        waiting=len(ledger) - running,
        places_taken=ledger.sequences,
        places=front.admission.max_queue_sequences,
        seconds=round(front.outlook.seconds_until_empty(), 3),
    )


def _model(front: Front, name: str) -> ModelStatus:
    times, places = front.ledger.times, front.outlook.places(name)
    return ModelStatus(
        step_seconds=round(times.step_seconds(name, places, Pace.USUAL), 6) if times.is_measured(name) else None,
        image_seconds=round(times.image_seconds(name, Pace.USUAL), 6) if times.is_imaged(name) else None,
        places=places,
    )
