"""The description of the API is valid for the version that it names, and agrees with what is answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV32SpecValidator

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest, Problem
from dit_serve.service.http.problems import problem_body
from dit_serve.service.http.schemas import STREAM, ModelAnswer, ProblemDocument


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    described: dict[str, Any] = client.get("/openapi.json").json()
    return described


def test_it_is_valid_openapi_of_the_version_that_it_names(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.2.0"  # the first with `itemSchema`
    OpenAPIV32SpecValidator(document).validate()


def test_every_event_of_a_stream_is_described(document: dict[str, Any]) -> None:
    answers = document["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    events = answers["text/event-stream"]["itemSchema"]["oneOf"]
    assert [event["properties"]["event"]["const"] for event in events] == list(STREAM)
    schemas = document["components"]["schemas"]
    for event in events:
        assert event["properties"]["data"]["contentSchema"]["$ref"].rpartition("/")[2] in schemas
    assert {"type": "null"} in schemas["QueuedEvent"]["properties"]["eta_seconds"]["anyOf"]


@pytest.mark.parametrize("problem", [Problem.__subclasses__()[2]("why"), InvalidRequest([FieldError("n", "is 0")])])
def test_a_problem_is_what_is_described(problem: Problem) -> None:
    body = problem_body(problem, "an-id")
    assert ProblemDocument.model_validate(body, extra="forbid").model_dump(exclude_unset=True) == body


def test_a_model_is_told_with_the_values_of_its_worker() -> None:
    info = ModelInfo("a", 64, 10, (), 1000, ("ddim",), 3, "bfloat16", "cpu", "ab")
    assert ModelAnswer.model_validate(info).model_dump() == {
        "name": "a", "resolution": 64, "num_classes": 10, "max_steps": 1000, "samplers": ["ddim"],
        "guidance_channels": 3, "can_guide": True, "conditioning": "adaln-zero", "dtype": "bfloat16", "precision": "",
        "weights": "", "devices": [], "weights_sha256": "ab", "is_default": False,
    }
