"""Everything that can go wrong in the service, and what a client is told about it.

    ServiceError
    ├── Problem                    a client meets it, as application/problem+json (RFC 9457)
    │   ├── MalformedBody          the body is not JSON
    │   ├── InvalidRequest         it is JSON, but not a request that can be served
    │   ├── Unauthorized           no valid API key came with the request
    │   ├── NotFound               no such path
    │   ├── MethodNotAllowed       the path exists, with other methods
    │   ├── NotAcceptable          Accept names nothing that can be made
    │   ├── BodyTooLarge
    │   ├── UnsupportedMediaType   the body is not declared as application/json
    │   ├── QueueFull              refused at once; Retry-After says when to come back
    │   ├── DeadlineTooShort       refused at once, because it would not be finished in time
    │   ├── NotReady               no model is loaded (yet)
    │   ├── ShuttingDown           new work is refused, admitted work is finished
    │   ├── JobFailed              an accepted job raised an error
    │   ├── JobCrashed             an accepted job was running in two crashes of the worker
    │   ├── JobCancelled           its client went away: nobody reads the answer
    │   ├── JobExpired             its deadline passed
    │   └── InternalError          a defect of ours
    └── LocalError                 an operator or the command line meets it, as a sentence
        ├── SettingsError          a setting is unknown, wrong, or at odds with another
        ├── StartError             the service cannot start
        ├── WireError              the other process sent what is no message
        ├── ReceiptError           a PNG has no receipt, or a damaged one
        └── CommandError           a command was asked for what cannot be done

One table, `problem_table`, gives each Problem its status, title and slug. A problem's body never
repeats what the client sent except numbers, and never holds a path or a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


class ServiceError(Exception):
    """Root of the tree."""


class Problem(ServiceError):
    """An error that a client meets.

    Args:
        detail: what was wrong and what is allowed, in words for the client.
        retry_after: seconds after which a new try may succeed.
    """

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request."""

    field: str
    message: str


class MalformedBody(Problem):
    """The body is not JSON."""


class InvalidRequest(Problem):
    """The body is JSON but not a request that can be served; `errors` has every reason."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class Unauthorized(Problem):
    """No valid API key came with the request."""


class NotFound(Problem):
    """No such path."""


class MethodNotAllowed(Problem):
    """The path exists, with other methods."""


class NotAcceptable(Problem):
    """The Accept header names nothing that can be made."""


class BodyTooLarge(Problem):
    """The body is larger than any sensible request."""


class UnsupportedMediaType(Problem):
    """The body is not declared as application/json."""


class QueueFull(Problem):
    """The queue has no room for this request now."""


class DeadlineTooShort(Problem):
    """The predicted finish of this request misses its deadline."""


class NotReady(Problem):
    """No model is loaded."""


class ShuttingDown(Problem):
    """The service takes no new work because it is about to end."""


class JobFailed(Problem):
    """An accepted job raised an error."""


class JobCrashed(Problem):
    """An accepted job was running in two crashes of the worker."""


class JobCancelled(Problem):
    """An accepted job was given up because its client went away."""


class JobExpired(Problem):
    """The deadline of an accepted job passed."""


class InternalError(Problem):
    """A defect of ours."""


class LocalError(ServiceError):
    """An error that an operator or the command line meets."""


class SettingsError(LocalError):
    """A setting is unknown, wrong, or at odds with another."""


class StartError(LocalError):
    """The service cannot start."""


class WireError(LocalError):
    """The other process sent what is no message."""


class ReceiptError(LocalError):
    """A PNG has no receipt, or a damaged one."""


class CommandError(LocalError):
    """A command was asked for what cannot be done."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """How one type of problem looks in HTTP."""

    status: int
    title: str
    slug: str


@cache
def problem_table() -> Mapping[type[Problem], ProblemKind]:
    """The HTTP form of every type of problem."""
    return {
        MalformedBody: ProblemKind(400, "The body is not JSON", "malformed-body"),
        Unauthorized: ProblemKind(401, "An API key is needed", "unauthorized"),
        NotFound: ProblemKind(404, "There is nothing at this path", "not-found"),
        MethodNotAllowed: ProblemKind(405, "This path does not take this method", "method-not-allowed"),
        NotAcceptable: ProblemKind(406, "No acceptable representation", "not-acceptable"),
        BodyTooLarge: ProblemKind(413, "The body is too large", "body-too-large"),
        UnsupportedMediaType: ProblemKind(415, "The body must be application/json", "unsupported-media-type"),
        InvalidRequest: ProblemKind(422, "The request cannot be served", "invalid-request"),
        QueueFull: ProblemKind(429, "The queue is full", "queue-full"),
        JobCancelled: ProblemKind(499, "The client went away", "cancelled"),
        InternalError: ProblemKind(500, "Internal error", "internal-error"),
        JobFailed: ProblemKind(500, "The image could not be made", "job-failed"),
        JobCrashed: ProblemKind(500, "The image could not be made", "job-crashed"),
        NotReady: ProblemKind(503, "Not ready", "not-ready"),
        DeadlineTooShort: ProblemKind(503, "The deadline cannot be met", "deadline-too-short"),
        ShuttingDown: ProblemKind(503, "Shutting down", "shutting-down"),
        JobExpired: ProblemKind(504, "The deadline passed", "expired"),
    }


def problem_kind(problem: Problem) -> ProblemKind:
    """Status, title and slug of a problem."""
    return problem_table()[type(problem)]


def problem_body(problem: Problem, request_id: str) -> dict[str, object]:
    """The members of the problem+json document (RFC 9457, section 3)."""
    kind = problem_kind(problem)
    body: dict[str, object] = {
        "type": f"urn:dit-serve:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if isinstance(problem, InvalidRequest):
        body["errors"] = [{"field": error.field, "message": error.message} for error in problem.errors]
    return body
