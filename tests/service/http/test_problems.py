"""How a problem is told in each protocol, and what it says of trying again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.types import Scope

from dit_serve.service.errors import (
    DeadlineTooShort,
    FieldError,
    InvalidRequest,
    JobCrashed,
    JobExpired,
    JobFailed,
    NotFound,
    NotReady,
    Problem,
    QueueFull,
    ShuttingDown,
    Unauthorized,
)
from dit_serve.service.http.problems import problem_response
from dit_serve.service.http.protocols import Protocol, protocol_of

WRONG = InvalidRequest([FieldError("steps", "is 0"), FieldError("n", "is 99")])


def asked(path: str, method: str = "POST") -> Scope:
    return {"type": "http", "path": path, "method": method}


def body(problem: Problem, path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(problem_response(problem, asked(path), "an-id").body)
    return document


@pytest.mark.parametrize(
    ("path", "method", "protocol"),
    [
        ("/generate", "POST", Protocol.DIT),
        ("/v1/batch", "POST", Protocol.DIT),
        ("/v1/images/generations", "POST", Protocol.OPENAI),
        ("/v1/models/facebook/DiT-XL-2-256", "GET", Protocol.OPENAI),
        ("/v2", "GET", Protocol.OPEN_INFERENCE),
        ("/v2/nothing/here", "BREW", Protocol.OPEN_INFERENCE),
        ("/v20", "GET", Protocol.DIT),
        ("/", "POST", Protocol.HUGGING_FACE),
        ("/", "GET", Protocol.DIT),
        ("/models/digits-64", "POST", Protocol.HUGGING_FACE),
    ],
)
def test_a_path_belongs_to_a_protocol(path: str, method: str, protocol: Protocol) -> None:
    assert protocol_of(path, method) is protocol


def test_our_own_document_has_the_members_of_both_worlds() -> None:
    response = problem_response(WRONG, asked("/generate"), "an-id")
    assert (response.status_code, response.media_type) == (422, "application/problem+json")
    document = body(WRONG, "/generate")
    assert document["errors"] == [{"field": "steps", "message": "is 0"}, {"field": "n", "message": "is 99"}]
    assert document["error"] == {
        "message": "steps: is 0; n: is 99", "type": "invalid_request_error", "param": "steps",
        "code": "invalid_request",
    }  # fmt: skip


def test_openais_clients_get_400_for_what_is_422_elsewhere() -> None:
    response = problem_response(WRONG, asked("/v1/images/generations"), "an-id")
    assert response.status_code == body(WRONG, "/v1/images/generations")["status"] == 400


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (NotFound("why"), "invalid_request_error"),
        (Unauthorized("why"), "authentication_error"),
        (QueueFull("why"), "rate_limit_error"),
        (JobFailed("why"), "server_error"),
        (NotReady("why"), "server_error"),
    ],
    ids=lambda value: value.slug if isinstance(value, Problem) else "",
)
def test_the_kind_of_an_error_is_openais(problem: Problem, kind: str) -> None:
    assert body(problem, "/generate")["error"]["type"] == kind


@pytest.mark.parametrize("problem", [WRONG, NotFound("why"), NotReady()], ids=["wrong", "not-found", "not-ready"])
def test_the_inference_protocol_has_one_text_and_nothing_else(problem: Problem) -> None:
    response = problem_response(problem, asked("/v2/models/a/infer"), "an-id")
    assert response.media_type == "application/json"
    assert response.status_code == (400 if problem is WRONG else problem.status)
    assert body(problem, "/v2/models/a/infer") == {"error": problem.detail or problem.title}


def test_hugging_faces_clients_show_each_word_once() -> None:
    document = body(WRONG, "/models/a")
    assert document["error"] == "steps: is 0; n: is 99"
    assert document["status"] == 400
    assert "errors" not in document


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (QueueFull, "true"), (NotReady, "true"), (ShuttingDown, "true"), (DeadlineTooShort, "false"),
        (JobFailed, "false"), (JobCrashed, "false"), (JobExpired, "false"), (NotFound, None),
    ],
)  # fmt: skip
def test_who_would_ask_again_is_told_whether_to(kind: type[Problem], said: str | None) -> None:
    assert problem_response(kind("why"), asked("/generate"), "an-id").headers.get("x-should-retry") == said


def test_no_problem_is_kept_by_a_cache() -> None:
    response = problem_response(NotFound("why"), asked("/v1/images/a/1/2.png", "GET"), "an-id")
    assert response.headers["cache-control"] == "no-store"
