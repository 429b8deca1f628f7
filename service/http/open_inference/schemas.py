"""The JSON of the Open Inference Protocol: a request's, an answer's, and what is told of the service and its models.

Knows no HTTP beyond its JSON, and no value of a tensor.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from dit_serve.service.http.batch_schemas import MAX_REQUESTS
from dit_serve.service.http.open_inference.tensors import Datatype
from dit_serve.service.http.schemas import MAX_DEADLINE_MS, GenerateRequest, whole

VERSION = "1"  # of every model: its weights do not change while it is served
EXAMPLE = '{"inputs": [{"name": "class_id", "shape": [1], "datatype": "INT64", "data": [7]}]}'
INPUTS = {  # of a request, N of each; class_id or label is needed
    "class_id": Datatype.INT64,
    "label": Datatype.BYTES,
    "seed": Datatype.INT64,
    "cfg": Datatype.FP32,
    "steps": Datatype.INT32,
    "sampler": Datatype.BYTES,
}
OUTPUTS = {"image": Datatype.UINT8, "png": Datatype.BYTES, "seed": Datatype.INT64}
DEFAULT_OUTPUTS = ("image", "seed")  # the same pictures twice would be of no use
SHARED = {"cfg": "cfg", "guidance_scale": "cfg", "steps": "steps", "num_inference_steps": "steps", "seed": "seed",
          "sampler": "sampler"}  # parameters that hold for all images: the name of each as an input's  # fmt: skip
_CLOSED = ConfigDict(strict=True, extra="forbid", frozen=True)


class InputParameters(BaseModel):
    """`parameters` of an input."""

    model_config = _CLOSED

    binary_data_size: int | None = Field(
        default=None, ge=0, description="Bytes of this tensor after the JSON, in the place of `data`."
    )

    _whole = field_validator("binary_data_size", mode="before")(whole)


class RequestedInput(BaseModel):
    """A tensor that is sent."""

    model_config = _CLOSED

    name: str = Field(
        default="", description="class_id or label is needed; either has the other inputs beside it.",
        json_schema_extra={"enum": [*INPUTS]},
    )
    shape: list[Any] = Field(
        default=[], description=f"[N] or [N, 1], N of 1 to {MAX_REQUESTS}: one element an image.",
        json_schema_extra={"items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    )
    datatype: str = Field(
        default="", description="; ".join(f"{each} of {name}" for name, each in INPUTS.items()) + ".",
        json_schema_extra={"enum": [each.value for each in dict.fromkeys(INPUTS.values())]},
    )
    parameters: Annotated[dict[str, Any], WithJsonSchema(InputParameters.model_json_schema())] | None = None
    data: list[Any] | None = Field(default=None, description="The elements, unless they stand after the JSON.")


class OutputParameters(BaseModel):
    """`parameters` of an output that is asked for."""

    model_config = _CLOSED

    binary_data: bool | None = Field(
        default=None, description="Whether it comes after the JSON, as bytes; else as `binary_data_output` says."
    )


class RequestedOutput(BaseModel):
    """A tensor that is asked for."""

    model_config = _CLOSED

    name: str = Field(default="", json_schema_extra={"enum": [*OUTPUTS]})
    parameters: Annotated[dict[str, Any], WithJsonSchema(OutputParameters.model_json_schema())] | None = None


def _document_parameters(schema: dict[str, Any]) -> None:
    """What holds for all images, in the words of POST /generate."""
    told = GenerateRequest.model_json_schema(by_alias=True)["properties"]
    schema["properties"] |= {name: told[name] for name in SHARED}
    other = {first: name for name, first in SHARED.items() if name != first}
    schema["allOf"] = [{"not": {"required": [first, name]}} for first, name in other.items()]


class InferParameters(BaseModel):
    """`parameters` of a request; those that hold for all images are judged with each of them, as in POST /generate."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_document_parameters)

    binary_data_output: bool = Field(
        default=False, description="Whether outputs come after the JSON, as bytes, unless one says otherwise."
    )
    timeout: int | None = Field(
        default=None, ge=0, le=1000 * MAX_DEADLINE_MS,
        description="Microseconds that the request may take, as `deadline_ms` of POST /generate; 0 is no bound.",
    )
    priority: int | None = Field(default=None, ge=0, description="Without effect: all requests have the same.")
    cfg: Any = Field(default=None, validation_alias=AliasChoices("cfg", "guidance_scale"))
    steps: Any = Field(default=None, validation_alias=AliasChoices("steps", "num_inference_steps"))
    seed: Any = None
    sampler: Any = None

    _whole = field_validator("timeout", "priority", mode="before")(whole)


def _document_request(schema: dict[str, Any]) -> None:
    """There must be inputs: null is as good as none."""
    inputs = schema["properties"]["inputs"]
    schema["properties"]["inputs"] = {**inputs["anyOf"][0], "description": inputs["description"]}
    schema |= {"required": ["inputs"], "examples": [json.loads(EXAMPLE)]}


def _tensors(kind: type[BaseModel], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": kind.model_json_schema(), "minItems": least, "maxItems": most}


class InferRequest(BaseModel):
    """The JSON of a request; its tensors are read one by one."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, protected_namespaces=(),
        json_schema_extra=_document_request,
    )

    id: str | None = Field(default=None, max_length=200, description="Stands in the answer again.")
    model_name: str | None = Field(default=None, max_length=200, description="As in the path, if it is given at all.")
    parameters: Annotated[dict[str, Any], WithJsonSchema(InferParameters.model_json_schema())] | None = None
    inputs: Annotated[list[Any], WithJsonSchema(_tensors(RequestedInput, 1, len(INPUTS)))] | None = Field(
        default=None, description="Each has one element an image.",
    )
    outputs: Annotated[list[Any], WithJsonSchema(_tensors(RequestedOutput, 0, len(OUTPUTS)))] | None = Field(
        default=None, description=f"What is wanted; {' and '.join(DEFAULT_OUTPUTS)} if none is named.",
    )

    @field_validator("inputs", "outputs", mode="before")
    @classmethod
    def _few(cls, value: object, info: ValidationInfo) -> object:
        least, most = (1, len(INPUTS)) if info.field_name == "inputs" else (0, len(OUTPUTS))
        if isinstance(value, list) and not least <= len(value) <= most:
            raise PydanticCustomError("length", f"must hold {least} to {most} tensors, not {len(value)}")
        return value


class TensorMetadata(BaseModel):
    """A tensor of a model; -1 is the number of images."""

    name: str
    datatype: Datatype
    shape: list[int]


class ServerMetadata(BaseModel):
    """The service."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """A model, and the tensors that it takes and gives."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class LiveAnswer(BaseModel):
    """The process answers."""

    live: bool


class ReadyAnswer(BaseModel):
    """New work would be started now."""

    ready: bool


class ModelReadyAnswer(BaseModel):
    """New work of this model would be started now."""

    name: str
    ready: bool


class OutputTensorParameters(BaseModel):
    """`parameters` of an output that comes as bytes."""

    binary_data_size: int


class OutputTensor(BaseModel):
    """A tensor of an answer."""

    name: str
    datatype: Datatype
    shape: list[int]
    parameters: OutputTensorParameters | None = None
    data: list[Any] | None = Field(default=None, description="The elements; those of png are base64 (RFC 4648).")


class InferAnswer(BaseModel):
    """The JSON of an answer."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ErrorAnswer(BaseModel):
    """An error of this protocol."""

    error: str
