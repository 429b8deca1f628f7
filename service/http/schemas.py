"""The body of POST /generate and the answers in JSON: the border where the wire's names end.

`cfg` is `guidance_scale` from here on; diffusers' spellings of it and of `steps` are taken too. Types are strict: true
and "1" are no integers, NaN is no number, an unknown field is an error. JSON has one kind of number, so 7.0 is an
integer. Knows no HTTP beyond its JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from dit_serve.models.checks import LEAST_GUIDANCE, MAX_SEED, MOST_GUIDANCE
from dit_serve.models.options import DEFAULT_GUIDANCE_SCALE
from dit_serve.service.image.receipt import Receipt
from dit_serve.service.settings import MAX_IMAGES_PER_REQUEST

MAX_EXACT_FLOAT = 2**53  # below it every integer is a float of its own (IEEE 754 binary64), in JavaScript too
MAX_DEADLINE_MS = 24 * 60 * 60 * 1000
MAX_PREVIEW_EVERY = 1000


def spellings(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The names that a field may come under, the documented one first."""
    alias = field.validation_alias
    return tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (str(alias or name),)


def exact(value: object, info: ValidationInfo) -> object:
    """A field's number as `whole` has it; a seed must be written so that all of its digits come."""
    if info.field_name == "seed" and isinstance(value, float) and MAX_EXACT_FLOAT <= abs(value) < math.inf:
        raise PydanticCustomError("inexact", "must be written without point and exponent from 2^53 on, to be exact")
    return whole(value)


def whole(value: object) -> object:
    """A number that is an integer as one, however it was written; else the value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def document_spellings(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Adds to the JSON schema of a kind of request the other names that its fields may come under."""
    for name, field in kind.model_fields.items():
        first, *others = spellings(name, field)
        for other in others:
            text = f"`{first}`, as diffusers spells it; not both."
            schema["properties"][other] = {**schema["properties"][first], "title": other, "description": text}
            schema.setdefault("allOf", []).append({"not": {"required": [first, other]}})


def _document(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Adds to the JSON schema what the fields' types do not say."""
    schema["examples"] = [{"class_id": 7, "cfg": 4, "steps": 20, "seed": 0}, {"class": "golden retriever"}]
    # Null is as good as absent: `required` alone would be content with it.
    named = {"class_id": {"type": "integer"}, "class": {"type": "string"}}
    schema["oneOf"] = [{"required": [name], "properties": {name: kind}} for name, kind in named.items()]
    document_spellings(schema, kind)


class GenerateRequest(BaseModel):
    """What a client may ask for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_document)

    class_id: int | None = Field(
        default=None, ge=0,
        description="Which class, 0 to the model's number of classes - 1 (GET /v1/classes); this or `class` is needed.",
    )
    class_name: str | None = Field(
        default=None, alias="class", max_length=200,
        description="Which class, by one of its names in any case; this or `class_id` is needed.",
    )
    guidance_scale: float = Field(
        default=DEFAULT_GUIDANCE_SCALE, validation_alias=AliasChoices("cfg", "guidance_scale"),
        ge=LEAST_GUIDANCE, le=MOST_GUIDANCE, allow_inf_nan=False,
        description="Guidance scale; 1 is no guidance, and all that a model takes whose can_guide is false "
                    "(GET /v1/models): absent, it is 1 there.",
    )
    steps: int = Field(
        default=50, validation_alias=AliasChoices("steps", "num_inference_steps"), ge=1,
        description="Denoising steps, 1 to the model's maximum (GET /v1/models).",
    )
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED,
        description="Seed of the first image; image k has seed + k, 0 following 2^63 - 1. Drawn per image if absent, "
                    "below 2^53.",
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
    )
    preview_every: int = Field(
        default=0, ge=0, le=MAX_PREVIEW_EVERY,
        description="With Accept: text/event-stream alone, a small look at the image after every so many steps; 0 for "
                    "none.",
    )

    _whole = field_validator(
        "class_id", "steps", "seed", "resolution", "n", "deadline_ms", "preview_every", mode="before"
    )(exact)


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds that an image spent in each stage."""

    queue: float
    denoise: float
    decode: float
    encode: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage(Receipt):
    """One image with its receipt; the same values stand in the PNG's text chunks."""

    b64_png: Annotated[str, Field(description="The PNG, base64 (RFC 4648, section 4).")]
    timing_ms: Timing


@dataclass(frozen=True, slots=True)
class GenerateAnswer:
    """The images of one request, in the order of their seeds."""

    request_id: str
    images: list[GeneratedImage]


class ErrorMember(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: str = Field(description="invalid_request_error, authentication_error, rate_limit_error or server_error.")
    param: str | None = Field(description="The first field that is wrong.")
    code: str = Field(description="The end of the problem's type, with underscores.")


class _Problem(BaseModel):
    """What all documents of an error say."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, str]] | None = None


class ProblemDocument(_Problem):
    """An error (RFC 9457), and the same in the words of OpenAI."""

    error: ErrorMember


class TextProblem(_Problem):
    """An error (RFC 9457), and the same as the text that Hugging Face's clients show."""

    error: str


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """A request's place in the queue; at once, and now and then until it begins."""

    request_id: str
    position: int
    eta_seconds: Annotated[float | None, Field(description="null before anything was measured.")]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Steps that an image of the request has made."""

    index: int
    step: int
    steps: int
    eta_seconds: Annotated[float | None, Field(description="null before anything was measured.")]


@dataclass(frozen=True, slots=True)
class PreviewEvent:
    """A small look at an image of the request, if asked for by `preview_every`."""

    index: int
    step: int
    b64_png: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedEvent(GeneratedImage):
    """An image of the request, once each."""

    index: int
    request_id: str


STREAM = {  # the events of a stream; `failed` comes instead of what is missing, and last
    "queued": QueuedEvent,
    "progress": ProgressEvent,
    "preview": PreviewEvent,
    "completed": CompletedEvent,
    "failed": ProblemDocument,
}


class ModelAnswer(BaseModel):
    """One loaded model; made of what the worker tells of it."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)

    name: str
    resolution: int
    num_classes: int
    max_steps: int
    samplers: list[str]
    guidance_channels: int
    can_guide: bool = Field(default=True, description="Whether it takes a cfg other than 1.")
    conditioning: str = Field(
        default="adaln-zero", description="How its blocks take in timestep and class, by the DiT paper's four names."
    )
    dtype: str
    precision: str = Field(default="", description="fp8 where the large products are in float8.")
    weights: str = Field(default="", description="model or ema, of a checkpoint that tells them apart.")
    devices: list[str] = Field(default=[], description="Of each worker that is up.")
    weights_sha256: str = Field(validation_alias="sha256")
    is_default: bool = False


class ClassAnswer(BaseModel):
    """One class."""

    class_id: int
    names: list[str]


class ClassesAnswer(BaseModel):
    """Classes of one model."""

    model: str
    resolution: int
    classes: list[ClassAnswer]


class QueueAnswer(BaseModel):
    """All accepted work."""

    running: int = Field(description="Images under way.")
    waiting: int = Field(description="Images that are accepted and do not run yet.")
    places_taken: int = Field(description="Places of all these: two an image, or one if cfg is 1.")
    places: int = Field(description="Most places; a request that needs more than are free is answered 429.")
    seconds: float = Field(description="Predicted time until all accepted work is done.")


class ModelStatus(BaseModel):
    """What images of a model take, by what was measured of late."""

    step_seconds: float | None = Field(description="A step of a full batch, of all places; null before any was made.")
    image_seconds: float | None = Field(description="An image beside its steps; null before any was made.")
    places: int = Field(description="Most places of one step.")


class StatusAnswer(BaseModel):
    """How the service is, and how long work takes."""

    ready: bool = Field(description="Whether new work would be started now, as GET /readyz says.")
    reason: str = Field(description="Why not; empty if it is ready.")
    workers: int
    workers_up: int
    queue: QueueAnswer
    models: dict[str, ModelStatus]
