"""The body of POST /v1/images/generations, its answer and the events of its stream, as OpenAI's clients have them.

Fields of theirs come first, then ours, which are those of POST /generate with its bounds: OpenAI's packages send them
as `extra_body`. A null is as if the field were not there, where OpenAI's own description allows one. Knows no HTTP
beyond its JSON.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from dit_serve.service.http.prompts import MOST_CHARACTERS
from dit_serve.service.http.schemas import ErrorMember, GenerateRequest, Timing, document_spellings, exact
from dit_serve.service.image.convert import BEST_QUALITY
from dit_serve.service.image.receipt import Receipt
from dit_serve.service.settings import MAX_IMAGES_PER_REQUEST

EXAMPLE = '{"prompt": "golden retriever"}'
MAX_PARTIAL_IMAGES = 3
_NO_EFFECT = "Without effect."
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")

OutputFormat = Literal["png", "webp", "jpeg"]
Quality = Literal["low", "medium", "high", "xhigh", "max"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)


def side_of(size: str | None) -> int | None:
    """The side of a size that was found sound; None for any."""
    found = _SIZE.fullmatch(size or "")
    return int(found[1]) if found else None


def written_size(side: int) -> str:
    """A square's size as this API writes it."""
    return f"{side}x{side}"


def _as_there(name: str) -> Any:
    """A field as POST /generate has it: default, bounds, spellings and description."""
    return copy(GenerateRequest.model_fields[name])


def _document(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Adds to the JSON schema what the fields' types do not say."""
    needed = (("prompt", "string"), ("class_id", "integer"))
    schema["anyOf"] = [{"required": [name], "properties": {name: {"type": type_}}} for name, type_ in needed]
    lossy = {"required": ["output_format"], "properties": {"output_format": {"enum": ["webp", "jpeg"]}}}
    uncompressed = {"properties": {"output_compression": {"enum": [None, BEST_QUALITY]}}}
    schema["allOf"] = [{"anyOf": [uncompressed, lossy]}]
    schema["examples"] = [
        {"prompt": "golden retriever", "n": 2, "size": "auto", "seed": 0, "cfg": 4, "steps": 20},
        {"prompt": "207", "stream": True, "partial_images": 2},
    ]
    document_spellings(schema, kind)


class ImagesRequest(BaseModel):
    """What a client may ask for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_document)

    model: str | None = Field(
        default=None, max_length=200,
        description="Name of a loaded model, or an alias of one (GET /v1/models); the first one if absent.",
    )
    prompt: str | None = Field(
        default=None, max_length=MOST_CHARACTERS,
        description="A class of the model: by one of its names in any case, by its id (207), or by that in words "
                    "(class 207). Where the operator allows phrases, text that has such a name in it. This or "
                    "`class_id` is needed; `revised_prompt` says what was drawn.",
    )
    n: int | None = Field(default=None, ge=1, le=MAX_IMAGES_PER_REQUEST, description="Number of images; 1 if absent.")
    size: str | None = Field(
        default=None,
        description="auto (the default), which is the model's; or that in numbers, such as 256x256. Without `model`, "
                    "the first loaded model that makes such images.",
    )
    response_format: Literal["b64_json"] | None = Field(
        default=None, description="b64_json alone: images are in the answer, and nothing is kept to link to."
    )
    output_format: OutputFormat | None = Field(
        default=None,
        description="png (the default), whose file has the image's receipt in it; webp or jpeg, which are lossy and "
                    "have none.",
    )
    output_compression: int | None = Field(
        default=None, ge=0, le=BEST_QUALITY,
        description="Quality of a webp or jpeg, up to 100, which is the default and the best.",
    )
    background: Literal["auto", "opaque"] | None = Field(
        default=None, description="auto or opaque, which are the same: no image has transparent parts."
    )
    stream: bool | None = Field(default=None, description="Whether the answer is a stream of events.")
    partial_images: int | None = Field(
        default=None, ge=0, le=MAX_PARTIAL_IMAGES,
        description="In a stream, at most so many looks at each image on its way; without one, no effect.",
    )
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = Field(
        default=None, description=f"{_NO_EFFECT} `steps` and `cfg` have one."
    )
    style: Literal["vivid", "natural"] | None = Field(default=None, description=_NO_EFFECT)
    moderation: Literal["auto", "low"] | None = Field(default=None, description=_NO_EFFECT)
    complexity: Literal["low", "medium", "high"] | None = Field(default=None, description=_NO_EFFECT)
    user: str | None = Field(default=None, max_length=512, description=_NO_EFFECT)
    safety_identifier: str | None = Field(default=None, max_length=512, description=_NO_EFFECT)

    class_id: int | None = Field(
        default=None, ge=0, description="Ours: the class by its id; `prompt` does not count beside it."
    )
    guidance_scale: float = _as_there("guidance_scale")
    steps: int = _as_there("steps")
    seed: int | None = _as_there("seed")
    sampler: str | None = _as_there("sampler")
    deadline_ms: int | None = _as_there("deadline_ms")

    _whole = field_validator(
        "n", "output_compression", "partial_images", "class_id", "steps", "seed", "deadline_ms", mode="before"
    )(exact)

    @field_validator("size")
    @classmethod
    def _is_square(cls, size: str | None) -> str | None:
        if size in (None, "auto"):
            return size
        found = _SIZE.fullmatch(size or "")
        if found is None:
            raise PydanticCustomError("size", "must be auto, or width and height in pixels, such as 256x256")
        if found[1] != found[2]:
            raise PydanticCustomError("size", f"is {size}; images are square, such as {written_size(256)}")
        return size

    @field_validator("response_format", mode="before")
    @classmethod
    def _is_no_link(cls, kind: object) -> object:
        if kind == "url":
            raise PydanticCustomError("url", "must be b64_json: no image is kept here that a link could lead to")
        return kind

    @field_validator("background", mode="before")
    @classmethod
    def _is_opaque(cls, background: object) -> object:
        if background == "transparent":
            raise PydanticCustomError("transparent", "must be opaque or auto: no image has transparent parts")
        return background


@dataclass(frozen=True, slots=True)
class TokenDetails:
    """What the tokens of an image's input would be of."""

    text_tokens: int = 0
    image_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an image has cost: none, since nothing here is counted in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture(Receipt):
    """One image, with its receipt. A PNG has that in text chunks too; the lossy forms have it here alone."""

    b64_json: Annotated[str, Field(description="The file in `output_format`, base64 (RFC 4648, section 4).")]
    revised_prompt: Annotated[str, Field(description="What was drawn: class 207: golden retriever.")]
    timing_ms: Timing


@dataclass(frozen=True, kw_only=True)  # no slots: an event has two such bases
class PictureForm:
    """What all images of a request have in common."""

    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    quality: Annotated[Quality, Field(description="As it was asked for, else high.")]
    size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesAnswer(PictureForm):
    """The images of one request, in the order of their seeds."""

    created: Annotated[int, Field(description="Seconds since 1970.")]
    usage: Usage = Usage()
    data: list[Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialImageEvent(PictureForm):
    """A look at an image on its way, enlarged to the size of the image."""

    type: Literal["image_generation.partial_image"] = "image_generation.partial_image"
    b64_json: Annotated[str, Field(description="The look in `output_format`, base64.")]
    partial_image_index: Annotated[int, Field(description="Counts the looks at this image from 0.")]
    index: Annotated[int, Field(description="Counts the images of the request from 0.")]
    created_at: Annotated[int, Field(description="Seconds since 1970.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCompletedEvent(Picture, PictureForm):
    """An image of the request, once each."""

    type: Literal["image_generation.completed"] = "image_generation.completed"
    index: Annotated[int, Field(description="Counts the images of the request from 0.")]
    created_at: Annotated[int, Field(description="Seconds since 1970.")]
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """Why the images that are missing do not come; always the last event."""

    type: Literal["error"] = "error"
    error: ErrorMember


IMAGES_STREAM = {  # no event of another name: clients take what they do not know for one that they do
    "image_generation.partial_image": PartialImageEvent,
    "image_generation.completed": PictureCompletedEvent,
    "error": ErrorEvent,
}
