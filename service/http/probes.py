"""GET /livez and /readyz (or /health, or /ping), for orchestrators: the process answers; new work would be started now.

Knows the front alone.
"""

from __future__ import annotations

from fastapi import APIRouter

from dit_serve.service.errors import NotReady
from dit_serve.service.front.front import RETRY_WHEN_LOADING_SECONDS, Front
from dit_serve.service.http.openapi import problems


def probe_router(front: Front) -> APIRouter:
    """The router of the probes."""
    router = APIRouter(tags=["probes"])

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """The HTTP process is alive, whatever the worker does."""
        return {"status": "alive"}

    @router.get("/ping", responses=problems(503))  # SageMaker's name for it
    @router.get("/health", responses=problems(503))
    @router.get("/readyz", responses=problems(503))
    async def readyz() -> dict[str, object]:
        """A worker has the models and new work is taken, if not all are up, `missing` has the others; else 503."""
        readiness = front.readiness
        if not readiness.is_ready:
            raise NotReady(readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)
        models = [model.name for model in front.models.values()]
        return {"status": "ready", "models": models, "missing": readiness.missing}

    return router
