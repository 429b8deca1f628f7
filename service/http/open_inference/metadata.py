"""What the Open Inference Protocol asks before any image: whether the service and a model are ready, what they take.

Knows the front alone, and of the models what the worker told of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import ModelNotFound, NotReady
from dit_serve.service.front.front import RETRY_WHEN_LOADING_SECONDS, Front
from dit_serve.service.http.open_inference.answer import CHANNELS
from dit_serve.service.http.open_inference.documented import refusals
from dit_serve.service.http.open_inference.schemas import (
    INPUTS,
    OUTPUTS,
    VERSION,
    LiveAnswer,
    ModelMetadata,
    ModelReadyAnswer,
    ReadyAnswer,
    ServerMetadata,
    TensorMetadata,
)
from dit_serve.service.version import version as service_version

MODEL = "/v2/models/{name:path}"  # a name may have slashes, as those of the hub do
OF_VERSION = MODEL + "/versions/{version}"
INFER = "/infer"
PLATFORM = "dit-serve"
EXTENSIONS = ["binary_tensor_data"]


def add_metadata(router: APIRouter, front: Front) -> None:
    """Adds the routes of everything that makes no image. Longer paths come first: a name takes all that it can."""

    @router.get("/v2/health/live")
    async def live() -> LiveAnswer:
        """The HTTP process is alive, whatever the worker does."""
        return LiveAnswer(live=True)

    @router.get("/v2/health/ready", responses=refusals(503))
    async def ready() -> ReadyAnswer:
        """A worker has the models and new work is taken, else 503."""
        _check_ready(front)
        return ReadyAnswer(ready=True)

    @router.get("/v2")
    async def server() -> ServerMetadata:
        """The service, and which of the protocol's extensions it has."""
        return ServerMetadata(name="dit-serve", version=service_version(), extensions=EXTENSIONS)

    @router.get(OF_VERSION + "/ready", responses=refusals(404, 503))
    async def version_ready(name: str, version: str) -> ModelReadyAnswer:
        """As without a version, of which each model has one, 1."""
        return _ready(front, name, version)

    @router.get(MODEL + "/ready", responses=refusals(404, 503))
    async def model_ready(name: str) -> ModelReadyAnswer:
        """The model is loaded and new work is taken, else 503."""
        return _ready(front, name, VERSION)

    @router.get(OF_VERSION, responses=refusals(404, 503))
    async def version_metadata(name: str, version: str) -> ModelMetadata:
        """As without a version, of which each model has one, 1."""
        return _metadata(model_called(front, name, version))

    @router.get(MODEL, responses=refusals(404, 503))
    async def model_metadata(name: str) -> ModelMetadata:
        """The tensors that a model takes and gives; of the inputs `class_id` or `label` is needed, no other one."""
        if name.endswith(INFER) and name not in front.named:
            raise HTTPException(405, headers={"Allow": "POST"})
        return _metadata(model_called(front, name, VERSION))


def model_called(front: Front, name: str, version: str) -> ModelInfo:
    """The model of this name, or alias, and version.

    Raises:
        NotReady: no model is loaded yet.
        ModelNotFound: there is none, or it has no such version.
    """
    models: Mapping[str, ModelInfo] = front.named
    if not models:
        raise NotReady(front.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)
    if name not in models:
        paths = "below /v2/models/NAME there are /ready, /infer and /versions/1"
        raise ModelNotFound(f"no model is called so; loaded are {', '.join(models)}; {paths}")
    if version != VERSION:
        raise ModelNotFound(f"each model has one version, {VERSION}")
    return models[name]


def _check_ready(front: Front) -> None:
    if not front.readiness.is_ready:
        raise NotReady(front.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)


def _ready(front: Front, name: str, version: str) -> ModelReadyAnswer:
    model = model_called(front, name, version)
    _check_ready(front)
    return ModelReadyAnswer(name=model.name, ready=True)


def _metadata(model: ModelInfo) -> ModelMetadata:
    pixels = {"image": [model.resolution, model.resolution, CHANNELS]}
    return ModelMetadata(
        name=model.name,
        versions=[VERSION],
        platform=PLATFORM,
        inputs=[TensorMetadata(name=name, datatype=datatype, shape=[-1]) for name, datatype in INPUTS.items()],
        outputs=[
            TensorMetadata(name=name, datatype=datatype, shape=[-1, *pixels.get(name, [])])
            for name, datatype in OUTPUTS.items()
        ],
    )
