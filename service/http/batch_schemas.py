"""The body of POST /v1/batch, its answer in JSON and the events of its stream: those of /generate, many at once.

`index` counts the requests of a batch, `image` the images of one of them. Knows no HTTP beyond its JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from dit_serve.service.http.schemas import (
    MAX_DEADLINE_MS,
    CompletedEvent,
    GeneratedImage,
    GenerateRequest,
    PreviewEvent,
    ProblemDocument,
    ProgressEvent,
    QueuedEvent,
    whole,
)

MAX_REQUESTS = 64
EXAMPLE = '{"requests": [{"class_id": 7}]}'


def _document(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Says what a request in a batch may be, and that there must be one."""
    request = GenerateRequest.model_json_schema(by_alias=True)
    del request["properties"]["deadline_ms"]
    described = schema["properties"]["requests"].pop("description")
    schema["properties"]["requests"] = {
        "type": "array", "minItems": 1, "maxItems": MAX_REQUESTS, "items": request, "description": described,
    }  # fmt: skip
    schema["required"] = ["requests"]
    schema["examples"] = [{"requests": [{"class_id": 7, "seed": 5, "cfg": 1.5}, {"class_id": 7, "seed": 5, "cfg": 4}]}]


class BatchRequest(BaseModel):
    """What is asked for together; each of the requests is read by itself."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_document)

    requests: list[Any] | None = Field(
        default=None,
        description=f"1 to {MAX_REQUESTS} bodies of POST /generate, of any models, steps and scales, without "
                    "`deadline_ms`; `preview_every` with Accept: text/event-stream alone. All are accepted or none.",
    )
    deadline_ms: int | None = Field(
        default=None, ge=1, le=MAX_DEADLINE_MS,
        description="Milliseconds that the whole batch may take, as X-Deadline-Ms: 503 at once if it would take longer "
                    "by what is known; images that are not done when it has passed are told with a problem of 504.",
    )

    @field_validator("requests", mode="before")
    @classmethod
    def _few(cls, value: object) -> object:
        if isinstance(value, list) and not 1 <= len(value) <= MAX_REQUESTS:
            raise PydanticCustomError("length", f"must hold 1 to {MAX_REQUESTS} requests, not {len(value)}")
        return value

    _whole = field_validator("deadline_ms", mode="before")(whole)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request of a batch."""

    images: Annotated[
        list[GeneratedImage] | None, Field(description="Those that came, in the order of their seeds; absent if none.")
    ] = None
    problem: Annotated[
        ProblemDocument | None, Field(description="Why an image did not come, of the first that did not.")
    ] = None


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of each request, in their order."""

    request_id: str
    results: list[BatchResult]


@dataclass(frozen=True, slots=True)
class BatchProgressEvent(ProgressEvent):
    """Steps that an image of the batch has made."""

    image: int


@dataclass(frozen=True, slots=True)
class BatchPreviewEvent(PreviewEvent):
    """A small look at an image of the batch, if its request asks for it by `preview_every`."""

    image: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCompletedEvent(CompletedEvent):
    """An image of the batch, once each."""

    image: int


class BatchFailedEvent(ProblemDocument):
    """Why an image of the batch does not come, while the others go on; without `index`, why no other one does."""

    index: int | None = None
    image: int | None = None


BATCH_STREAM = {  # each image has one `completed` or one `failed`; a `failed` of none is of all that have neither
    "queued": QueuedEvent,
    "progress": BatchProgressEvent,
    "preview": BatchPreviewEvent,
    "completed": BatchCompletedEvent,
    "failed": BatchFailedEvent,
}
