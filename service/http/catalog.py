"""The routes that say what can be asked for: GET / and /v1/classes.

Knows the front alone, and of the models what the worker told of them. How names are searched is
`models.labels`' affair, which needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from dit_serve.models.labels import Labels
from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import NotReady
from dit_serve.service.front.front import RETRY_WHEN_LOADING_SECONDS, Front
from dit_serve.service.http.negotiate import HTML, prefers_page
from dit_serve.service.http.openapi import problems
from dit_serve.service.http.prefix import PER_PREFIX, prefix_of
from dit_serve.service.http.protocols import OPENAI_IMAGES
from dit_serve.service.http.reading import find_model
from dit_serve.service.http.schemas import ClassAnswer, ClassesAnswer
from dit_serve.service.http.web_page import WebPage
from dit_serve.service.version import version


def catalog_router(front: Front, page: WebPage) -> APIRouter:
    """The router of the catalogue; / is the page to who prefers HTML."""
    router = APIRouter(tags=["catalogue"])

    documented_page: dict[str, Any] = {"content": {HTML: {"schema": {"type": "string"}}}}

    @router.get("/", response_model=dict[str, Any], responses={200: documented_page})
    async def discover(request: Request) -> Response:
        """Where everything is; a browser gets the page that makes images."""
        if prefers_page(", ".join(request.headers.getlist("accept"))):
            return page.index(request)
        headers = {**PER_PREFIX, "Vary": f"Accept, {PER_PREFIX['Vary']}"}
        return JSONResponse(discovery(prefix_of(request)), headers=headers)

    @router.get("/v1/classes", responses=problems(401, 422, 503))
    async def classes(
        q: Annotated[str, Query(max_length=100, description="Words of a name, or an id; else all classes.")] = "",
        model: Annotated[str | None, Query(max_length=200, description="Which model; else the first.")] = None,
        resolution: Annotated[int | None, Query(ge=1, le=1 << 20, description="Which model, by its images.")] = None,
    ) -> ClassesAnswer:
        """The classes with the id `q`, or with a name that has all of its words."""
        info = find_model(model, resolution, loaded(front))
        found = [ClassAnswer(class_id=class_id, names=list(info.names(class_id))) for class_id in search(info, q)]
        return ClassesAnswer(model=info.name, resolution=info.resolution, classes=found)

    return router


def discovery(prefix: str = "") -> dict[str, Any]:
    """The document at /, with this before all paths."""
    paths = {"models": "/v1/models", "classes": "/v1/classes?q=", "status": "/v1/status"}
    paths |= {"live": "/livez", "ready": "/readyz", "health": "/health", "ping": "/ping"}
    paths |= {"open_inference": "/v2", "open_inference_live": "/v2/health/live"}
    paths |= {"open_inference_ready": "/v2/health/ready"}
    documents = {"documentation": "/docs", "openapi": "/openapi.json"}
    example = {"class_id": 7, "cfg": 4, "steps": 20}
    return {
        "service": "dit-serve",
        "version": version(),
        "generate": {"method": "POST", "href": f"{prefix}/generate", "example": example},
        "batch": {"method": "POST", "href": f"{prefix}/v1/batch", "example": {"requests": [example]}},
        "sagemaker": {"method": "POST", "href": f"{prefix}/invocations", "example": example},
        "hugging_face": {"method": "POST", "href": f"{prefix}/", "example": {"inputs": "7"}},
        "openai": {"method": "POST", "href": f"{prefix}{OPENAI_IMAGES}", "example": {"prompt": "7", "seed": 0}},
        **{name: {"method": "GET", "href": prefix + path} for name, path in (paths | documents).items()},
    }


def search(model: ModelInfo, text: str) -> list[int]:
    """The ids of all classes for an empty text, of one for its number, else of those with such a name, best first."""
    wanted = text.strip()
    if not wanted:
        return list(range(model.num_classes))
    if wanted.isascii() and wanted.isdigit():
        return [class_id for class_id in range(model.num_classes) if str(class_id) == wanted]
    return [class_id for class_id, _ in Labels(model.labels).search(wanted)]


def loaded(front: Front) -> Mapping[str, ModelInfo]:
    """The models by their own names.

    Raises:
        NotReady: none is loaded yet.
    """
    if not front.models:
        raise NotReady(front.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)
    return front.models
