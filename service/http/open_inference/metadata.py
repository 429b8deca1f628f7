"""What the Open Inference Protocol asks before any image: whether the service and a model are ready, what they take.

Knows the front alone, and of the models what the worker told of them.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import ModelNotFound, NotReady
from dit_serve.service.front.front import RETRY_WHEN_LOADING_SECONDS, Front
from dit_serve.service.http.open_inference.answer import CHANNELS
from dit_serve.service.http.open_inference.documented import NAME, OF_ONE_VERSION, documented_path, refusals
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
from dit_serve.service.http.reading import model_named
from dit_serve.service.version import version

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

    @router.get("/v2", responses=refusals(401))
    async def server() -> ServerMetadata:
        """The service, and which of the protocol's extensions it has."""
        return ServerMetadata(name="dit-serve", version=version(), extensions=EXTENSIONS)

    refused = refusals(401, 404, 503)
    of_name, of_version = documented_path(NAME), documented_path(NAME, OF_ONE_VERSION)

    @router.get(OF_VERSION + "/ready", responses=refused, openapi_extra=of_version)
    async def version_ready(request: Request) -> ModelReadyAnswer:
        """As without a version, of which each model has one, 1."""
        return _ready(model_asked(request, front), front)

    @router.get(MODEL + "/ready", responses=refused, openapi_extra=of_name)
    async def model_ready(request: Request) -> ModelReadyAnswer:
        """The model is loaded and new work is taken, else 503."""
        return _ready(model_asked(request, front), front)

    @router.get(OF_VERSION, responses=refused, openapi_extra=of_version)
    async def version_metadata(request: Request) -> ModelMetadata:
        """As without a version, of which each model has one, 1."""
        return _metadata(model_asked(request, front))

    @router.get(MODEL, responses=refused, openapi_extra=of_name)
    async def model_metadata(request: Request) -> ModelMetadata:
        """The tensors that a model takes and gives; of the inputs `class_id` or `label` is needed, no other one."""
        if (name := name_in(request)).endswith(INFER) and name not in front.named:
            raise HTTPException(405, headers={"Allow": "POST"})
        return _metadata(model_asked(request, front))


def name_in(request: Request) -> str:
    """The name of a model in the path."""
    return str(request.path_params["name"])


def model_asked(request: Request, front: Front) -> ModelInfo:
    """The model in the path, by its name or an alias, and of its one version.

    Raises:
        NotReady: no model is loaded yet.
        ModelNotFound: there is none, or it has no such version.
    """
    if not front.named:
        raise NotReady(front.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)
    model = model_named(name_in(request), front.named)
    if request.path_params.get("version", VERSION) != VERSION:
        raise ModelNotFound(f"each model has one version, {VERSION}")
    return model


def _check_ready(front: Front) -> None:
    if not front.readiness.is_ready:
        raise NotReady(front.readiness.reason, retry_after=RETRY_WHEN_LOADING_SECONDS)


def _ready(model: ModelInfo, front: Front) -> ModelReadyAnswer:
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
