"""How a problem is told: one document for clients of several worlds, and the form that each protocol looks for.

The members of RFC 9457, and beside them `error`: an object as OpenAI's clients read it. The Open Inference Protocol
wants `error` as text and nothing else; Hugging Face's clients show it as text, and each of `errors` once more. None of
these knows 422, which is 400 there.

Knows problems and paths, and no route.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Scope

from dit_serve.service.errors import InvalidRequest, Problem
from dit_serve.service.http.protocols import Protocol, protocol_of

MEDIA_TYPE = "application/problem+json"
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def problem_body(problem: Problem, request_id: str) -> dict[str, object]:
    """The members of the problem+json document (RFC 9457, section 3), and `error`."""
    body: dict[str, object] = {
        "type": f"urn:dit-serve:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if isinstance(problem, InvalidRequest):
        body["errors"] = [{"field": error.field, "message": error.message} for error in problem.errors]
    body["error"] = error_member(problem)
    return body


def error_member(problem: Problem) -> dict[str, str | None]:
    """What OpenAI's clients read of a problem: its kind, its name, and the first field that is wrong."""
    fields = [error.field for error in problem.errors] if isinstance(problem, InvalidRequest) else []
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {
        "message": problem.detail or problem.title,
        "type": _TYPES.get(problem.status, kind),
        "param": fields[0] if fields else None,
        "code": problem.slug.replace("-", "_"),
    }


def problem_response(
    problem: Problem, scope: Scope, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem as the clients of the request's protocol expect it.

    Args:
        problem: what to tell.
        scope: of the request.
        request_id: of the request.
        headers: beside those of the problem.
    """
    body, media_type, text = problem_body(problem, request_id), MEDIA_TYPE, problem.detail or problem.title
    protocol = protocol_of(scope["path"], scope["method"])
    status = 400 if isinstance(problem, InvalidRequest) and protocol is not Protocol.DIT else problem.status
    if protocol is Protocol.OPEN_INFERENCE:
        body, media_type = {"error": text}, "application/json"
    elif protocol is Protocol.HUGGING_FACE:
        body = {**body, "status": status, "error": text}
        body.pop("errors", None)
    else:
        body["status"] = status
    return JSONResponse(body, status, {**_headers(problem), **(headers or {})}, media_type)


def _headers(problem: Problem) -> dict[str, str]:
    headers = {"Cache-Control": "no-store", **problem.headers}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
        # A second is long for a fast model.
        headers["Retry-After-Ms"] = str(max(1, math.ceil(1e3 * problem.retry_after)))
    if problem.is_retried is not None:
        headers["X-Should-Retry"] = str(problem.is_retried).lower()
    return headers
