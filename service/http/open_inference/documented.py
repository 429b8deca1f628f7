"""What OpenAPI says of the Open Inference Protocol, whose bodies and errors the framework cannot see.

Knows no route.
"""

from __future__ import annotations

from typing import Any

from dit_serve.service.http.negotiate import JSON
from dit_serve.service.http.open_inference.answer import OCTETS
from dit_serve.service.http.open_inference.reading import HEADER
from dit_serve.service.http.open_inference.schemas import ErrorAnswer, InferRequest
from dit_serve.service.http.openapi import Responses, problems

_BYTES = {"schema": {"contentMediaType": OCTETS}}
_LENGTH = {"type": "integer", "minimum": 0}


def refusals(*statuses: int) -> Responses:
    """The documentation of these statuses as this protocol has them."""
    content = {JSON: {"schema": ErrorAnswer.model_json_schema()}}
    return {status: {**told, "content": content} for status, told in problems(*statuses).items()}


def documented_request() -> dict[str, Any]:
    """The documentation of a request's body and of the header that says where its JSON ends."""
    schema = InferRequest.model_json_schema(by_alias=True)
    text = "Bytes of the body that are JSON, where tensors follow it. No Content-Type is needed."
    header = {"name": HEADER, "in": "header", "required": False, "schema": _LENGTH, "description": text}
    text = f"JSON; or as many bytes of it as {HEADER} says, and then the tensors with a binary_data_size."
    body = {"required": True, "description": text, "content": {JSON: {"schema": schema}, OCTETS: _BYTES}}
    return {"requestBody": body, "parameters": [header]}


def documented_answer() -> dict[str, Any]:
    """The documentation of an answer with images, beside its JSON."""
    text = f"The tensors. Those that are wanted as bytes follow the JSON, which has as many bytes as {HEADER} says."
    headers = {HEADER: {"schema": _LENGTH, "description": "Bytes of the JSON, where tensors follow it."}}
    return {"description": text, "content": {OCTETS: _BYTES}, "headers": headers}
