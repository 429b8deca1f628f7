"""The body of POST /generate and the answers in JSON: the border where the wire's names end.

`cfg` is `guidance_scale` from here on. Types are strict: true and "1" are no integers, NaN is no
number, an unknown field is an error. Knows no HTTP beyond its JSON.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dit_serve.models.options import DEFAULT_SAMPLER, ModelInfo, SampleSpec
from dit_serve.service.errors import FieldError, InvalidRequest, MalformedBody
from dit_serve.service.settings import MAX_IMAGES_PER_REQUEST
from dit_serve.service.wire.job import Job

MAX_SEED = 2**63 - 1
MAX_DEADLINE_MS = 24 * 60 * 60 * 1000
MAX_PREVIEW_EVERY = 1000


class GenerateRequest(BaseModel):
    """What a client may ask for."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"class_id": 7, "cfg": 4, "steps": 20, "seed": 0}]},
    )

    class_id: int = Field(ge=0, description="Which class, 0 to the model's number of classes - 1 (GET /v1/classes).")
    guidance_scale: float = Field(
        default=4.0, alias="cfg", ge=1, le=20, allow_inf_nan=False, description="Guidance scale; 1 is no guidance."
    )
    steps: int = Field(default=50, ge=1, description="Denoising steps, 1 to the model's maximum (GET /v1/models).")
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED,
        description="Seed of the first image; image k has seed + k, 0 following 2^63 - 1. Drawn per image if absent.",
    )
    model: str | None = Field(
        default=None, max_length=200, description="Name of a loaded model (GET /v1/models); the first one if absent."
    )
    resolution: int | None = Field(
        default=None, ge=1, description="Side in pixels: the first loaded model that makes such images."
    )
    sampler: str | None = Field(default=None, max_length=32, description="ddim (the default), ddpm or dpm++.")
    n: int = Field(
        default=1, ge=1, le=MAX_IMAGES_PER_REQUEST,
        description="Number of images; above 1 the answer is JSON or a stream of events.",
    )
    deadline_ms: int | None = Field(
        default=None, ge=1, le=MAX_DEADLINE_MS,
        description="Milliseconds that the request may take, as X-Deadline-Ms: 503 at once if it would take longer by "
                    "what is known, 504 when it has.",
    )  # fmt: skip
    preview_every: int = Field(
        default=0, ge=0, le=MAX_PREVIEW_EVERY,
        description="With Accept: text/event-stream, a small look at the image after every so many steps; 0 for none.",
    )


class Timing(BaseModel):
    """Milliseconds that an image spent in each stage."""

    queue: float
    denoise: float
    decode: float
    encode: float


class GeneratedImage(BaseModel):
    """One image with its receipt; the same values stand in the PNG's text chunks."""

    b64_png: str = Field(description="The PNG, base64 (RFC 4648, section 4).")
    seed: int
    class_id: int
    class_name: str
    cfg: float
    steps: int
    sampler: str
    resolution: int
    guidance_channels: int
    dtype: str
    model: str
    weights_sha256: str
    vae: str
    version: str
    timing_ms: Timing


class CompletedEvent(GeneratedImage):
    """An image of a stream, with its place among the images of the request."""

    index: int
    request_id: str


class GenerateAnswer(BaseModel):
    """The images of one request, in the order of their seeds."""

    request_id: str
    images: list[GeneratedImage]


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, str]] | None = None


class ModelAnswer(BaseModel):
    """One loaded model."""

    name: str
    resolution: int
    num_classes: int
    max_steps: int
    samplers: list[str]
    guidance_channels: int
    dtype: str
    devices: list[str] = Field(description="Of each worker that is up.")
    weights_sha256: str
    is_default: bool


class ModelsAnswer(BaseModel):
    """The loaded models, the default one first."""

    models: list[ModelAnswer]


class ClassAnswer(BaseModel):
    """One class."""

    class_id: int
    names: list[str]


class ClassesAnswer(BaseModel):
    """Classes of one model."""

    model: str
    resolution: int
    classes: list[ClassAnswer]


def parse_generate(body: bytes) -> GenerateRequest:
    """The request in a body.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no such request; names every wrong field.
    """
    try:
        return GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        raise MalformedBody("the body must be one JSON object in UTF-8, such as {\"class_id\": 7}")
    raise InvalidRequest(list(dict.fromkeys(map(_field_error, faults))))  # a thousand unknown fields are one mistake


def choose_model(request: GenerateRequest, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """The model that the request is for.

    Raises:
        InvalidRequest: there is none, or it cannot do what is asked.
    """
    model = find_model(request.model, request.resolution, models)
    errors = []
    if request.class_id >= model.num_classes:
        text = f"is {_short(request.class_id)}; {model.name} has classes 0 to {model.num_classes - 1}"
        errors.append(FieldError("class_id", text))
    if request.steps > model.max_steps:
        errors.append(FieldError("steps", f"is {_short(request.steps)}; {model.name} takes 1 to {model.max_steps}"))
    if request.sampler is not None and request.sampler not in model.samplers:
        errors.append(FieldError("sampler", f"must be one of {', '.join(model.samplers)}"))
    if errors:
        raise InvalidRequest(errors)
    return model


def find_model(name: str | None, resolution: int | None, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """The model of this name, else the first one of this resolution, else the first one.

    Raises:
        InvalidRequest: none is called so or makes such images, or the one called so makes others.
    """
    if name is not None and name not in models:
        raise InvalidRequest([FieldError("model", f"none is called so; loaded are {', '.join(models)}")])
    named = models.values() if name is None else [models[name]]
    found = [model for model in named if resolution in (None, model.resolution)]
    if not found:
        made = ", ".join(f"{model.resolution} ({model.name})" for model in named)
        raise InvalidRequest([FieldError("resolution", f"is {_short(resolution or 0)}; there is {made}")])
    return found[0]


def make_jobs(request: GenerateRequest, model: ModelInfo, request_id: str, next_id: Callable[[], int]) -> list[Job]:
    """One job per image, each with its own seed."""
    return [
        Job(
            id=next_id(),
            request_id=request_id,
            model=model.name,
            spec=SampleSpec(
                request.class_id, seed, request.steps, request.guidance_scale, request.sampler or DEFAULT_SAMPLER
            ),
            preview_every=request.preview_every,
        )
        for seed in _seeds(request)
    ]


def _seeds(request: GenerateRequest) -> list[int]:
    if request.seed is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(request.n)]
    return [(request.seed + k) % (MAX_SEED + 1) for k in range(request.n)]


def _field_error(fault: Mapping[str, Any]) -> FieldError:
    """What is wrong with one field; of what was sent it repeats numbers alone, and no unknown name."""
    if fault["type"] == "extra_forbidden":
        allowed = ", ".join(field.alias or name for name, field in GenerateRequest.model_fields.items())
        return FieldError("(unknown)", f"there is a field of another name; allowed are {allowed}")
    if not fault["loc"]:
        return FieldError("(body)", "must be a JSON object")
    message = str(fault["msg"]).replace("Input should be", "must be").replace("Field required", "is required")
    sent = fault["input"]
    if type(sent) in (int, float):
        message = f"is {_short(sent)}; {message}"
    return FieldError(str(fault["loc"][0]), message)


def _short(number: float) -> str:
    text = str(number)
    return text if len(text) <= 24 else f"{text[:20]}… ({len(text)} digits)"
