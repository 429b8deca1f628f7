"""What OpenAPI says of the Open Inference Protocol, whose bodies and errors the framework cannot see.

Knows no route.
"""

from __future__ import annotations

from typing import Any

from dit_serve.service.http.generate import documented_deadline
from dit_serve.service.http.negotiate import JSON
from dit_serve.service.http.open_inference.answer import OCTETS
from dit_serve.service.http.open_inference.reading import HEADER
from dit_serve.service.http.open_inference.schemas import VERSION, ErrorAnswer, InferRequest
from dit_serve.service.http.openapi import Responses, problems

Parameter = dict[str, Any]

NAME: Parameter = {
    "name": "name", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "The name of a model, or an alias; its slashes may be escaped, and need not.",
}  # fmt: skip
OF_ONE_VERSION: Parameter = {
    "name": "version", "in": "path", "required": True, "schema": {"type": "string", "enum": [VERSION]},
    "description": "The one that each model has.",
}  # fmt: skip
_BYTES = {"schema": {"contentMediaType": OCTETS}}
_LENGTH = {"type": "integer", "minimum": 0}


def refusals(*statuses: int) -> Responses:
    """The documentation of these statuses as this protocol has them."""
    content = {JSON: {"schema": ErrorAnswer.model_json_schema()}}
    return {status: {**told, "content": content} for status, told in problems(*statuses).items()}


def documented_path(*parameters: Parameter) -> dict[str, Any]:
    """The documentation of these parts of a path; the framework would add a status that it has not."""
    return {"parameters": [*parameters]}


def documented_request(*parameters: Parameter) -> dict[str, Any]:
    """The documentation of a request: its path, its body and the header that says where its JSON ends."""
    schema = InferRequest.model_json_schema(by_alias=True)
    text = "Bytes of the body that are JSON, where tensors follow it. No Content-Type is needed."
    header = {"name": HEADER, "in": "header", "required": False, "schema": _LENGTH, "description": text}
    text = f"JSON; or as many bytes of it as {HEADER} says, and then the tensors with a binary_data_size."
    body = {"required": True, "description": text, "content": {JSON: {"schema": schema}, OCTETS: _BYTES}}
    return {"requestBody": body, "parameters": [*parameters, header, documented_deadline()]}


def documented_answer() -> dict[str, Any]:
    """The documentation of an answer with images, beside its JSON."""
    text = f"The tensors. Those that are wanted as bytes follow the JSON, which has as many bytes as {HEADER} says."
    headers = {HEADER: {"schema": _LENGTH, "description": "Bytes of the JSON, where tensors follow it."}}
    return {"description": text, "content": {OCTETS: _BYTES}, "headers": headers}
