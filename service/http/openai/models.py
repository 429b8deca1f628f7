"""GET /v1/models and /v1/models/{name}: what is loaded, in OpenAI's form and in ours.

`data` has an object for every name that a request may give, aliases too, as OpenAI's clients expect it; `models` has
one for every model. Knows the front alone.
"""

from __future__ import annotations

import time
from typing import Literal, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from dit_serve.service.front.front import Front
from dit_serve.service.http.catalog import loaded
from dit_serve.service.http.openapi import problems
from dit_serve.service.http.reading import model_named
from dit_serve.service.http.schemas import ModelAnswer

Answer = TypeVar("Answer", bound=ModelAnswer)


class ModelObject(ModelAnswer):
    """A model under a name that requests may give."""

    id: str = Field(default="", description="The name or an alias; the model's own name is `name`.")
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="When this service was started, in seconds since 1970.")
    owned_by: str = "dit-serve"


class ModelList(BaseModel):
    """What is loaded, the default model first."""

    object: Literal["list"] = "list"
    data: list[ModelObject] = Field(description="By all names that requests may give, aliases last.")
    models: list[ModelAnswer] = Field(description="Each model once.")


def models_router(front: Front) -> APIRouter:
    """The router of the models."""
    router = APIRouter(tags=["catalogue"])
    created = int(time.time())

    def named(name: str) -> ModelObject:
        return _told(ModelObject, front, name, id=name, created=created)

    @router.get("/v1/models", responses=problems(401, 503))
    async def models() -> ModelList:
        """The loaded models, the default one first."""
        own = [_told(ModelAnswer, front, name) for name in loaded(front)]
        return ModelList(data=[named(name) for name in front.named], models=own)

    known = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}

    @router.get("/v1/models/{name:path}", responses=problems(401, 404, 503), openapi_extra={"parameters": [known]})
    async def model(request: Request) -> ModelObject:
        """One of the loaded models, by its name or an alias; a slash in it may be encoded or not."""
        loaded(front)
        name = str(request.path_params["name"])
        model_named(name, front.named)
        return named(name)

    return router


def _told(kind: type[Answer], front: Front, name: str, **more: object) -> Answer:
    """A model as its worker tells of it, and what the front knows besides."""
    model = front.named[name]
    is_default = model is next(iter(front.models.values()))
    known = {"devices": front.devices(model.name), "is_default": is_default, **more}
    return kind.model_validate(model).model_copy(update=known)
