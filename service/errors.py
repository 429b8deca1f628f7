"""Everything that can go wrong in the service, and what a client is told about it.

    ServiceError
    ├── Problem                    a client meets it, as application/problem+json (RFC 9457)
    │   ├── MalformedBody          the body is not JSON
    │   ├── InvalidRequest         it is JSON, but not a request that can be served
    │   ├── Unauthorized           no valid API key came with the request
    │   ├── NotFound               no such path
    │   ├── ModelNotFound          no such model is loaded
    │   ├── MethodNotAllowed       the path exists, with other methods
    │   ├── NotAcceptable          Accept names nothing that can be made
    │   ├── BodyTooLarge
    │   ├── UnsupportedMediaType   the body is not declared as application/json, or it is encoded
    │   ├── QueueFull              refused at once; Retry-After says when to come back
    │   ├── DeadlineTooShort       refused at once, because it would not be finished in time
    │   ├── NotReady               no model is loaded (yet)
    │   ├── ShuttingDown           new work is refused, admitted work is finished, if that can be
    │   ├── TooManyConnections     none of those that are open makes room for another
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

Each Problem that is raised has its status, title and slug as class attributes. A problem's detail never
repeats what the client sent except numbers, and never holds a path or a traceback. How a client is told is
`service.http.problems`' affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


class ServiceError(Exception):
    """Root of the tree."""


class Problem(ServiceError):
    """An error that a client meets.

    Args:
        detail: what was wrong and what is allowed, in words for the client.
        retry_after: seconds after which a new try may succeed.
        headers: of the answer, beside those of every problem.

    Attributes:
        status: of its answer in HTTP.
        title: the same words for every problem of this type.
        slug: names the type for programs.
        is_retried: whether the same request may succeed if it is sent again, where its status leaves that open.
    """

    status: ClassVar[int]
    title: ClassVar[str]
    slug: ClassVar[str]
    is_retried: ClassVar[bool | None] = None

    def __init__(
        self, detail: str = "", *, retry_after: float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request."""

    field: str
    message: str


class MalformedBody(Problem):
    """The body is not JSON."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "The body is not JSON"
    slug: ClassVar[str] = "malformed-body"


class InvalidRequest(Problem):
    """The body is JSON but not a request that can be served; `errors` has every reason."""

    status: ClassVar[int] = 422
    title: ClassVar[str] = "The request cannot be served"
    slug: ClassVar[str] = "invalid-request"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class Unauthorized(Problem):
    """No valid API key came with the request."""

    status: ClassVar[int] = 401
    title: ClassVar[str] = "An API key is needed"
    slug: ClassVar[str] = "unauthorized"


class NotFound(Problem):
    """No such path."""

    status: ClassVar[int] = 404
    title: ClassVar[str] = "There is nothing at this path"
    slug: ClassVar[str] = "not-found"


class ModelNotFound(Problem):
    """No model of this name is loaded."""

    status: ClassVar[int] = 404
    title: ClassVar[str] = "No such model is loaded"
    slug: ClassVar[str] = "model-not-found"


class MethodNotAllowed(Problem):
    """The path exists, with other methods."""

    status: ClassVar[int] = 405
    title: ClassVar[str] = "This path does not take this method"
    slug: ClassVar[str] = "method-not-allowed"


class NotAcceptable(Problem):
    """The Accept header names nothing that can be made."""

    status: ClassVar[int] = 406
    title: ClassVar[str] = "No acceptable representation"
    slug: ClassVar[str] = "not-acceptable"


class BodyTooLarge(Problem):
    """The body is larger than any sensible request."""

    status: ClassVar[int] = 413
    title: ClassVar[str] = "The body is too large"
    slug: ClassVar[str] = "body-too-large"


class UnsupportedMediaType(Problem):
    """The body is not declared as application/json, or it is in another charset, or compressed."""

    status: ClassVar[int] = 415
    title: ClassVar[str] = "The body must be application/json in UTF-8, not compressed"
    slug: ClassVar[str] = "unsupported-media-type"


class QueueFull(Problem):
    """The queue has no room for this request now."""

    status: ClassVar[int] = 429
    title: ClassVar[str] = "The queue is full"
    slug: ClassVar[str] = "queue-full"
    is_retried: ClassVar[bool | None] = True


class DeadlineTooShort(Problem):
    """The predicted finish of this request misses its deadline."""

    status: ClassVar[int] = 503
    title: ClassVar[str] = "The deadline cannot be met"
    slug: ClassVar[str] = "deadline-too-short"
    is_retried: ClassVar[bool | None] = False


class NotReady(Problem):
    """No model is loaded."""

    status: ClassVar[int] = 503
    title: ClassVar[str] = "Not ready"
    slug: ClassVar[str] = "not-ready"
    is_retried: ClassVar[bool | None] = True


class ShuttingDown(Problem):
    """The service is about to end: it takes no new work, or, after an error, can do none any more."""

    status: ClassVar[int] = 503
    title: ClassVar[str] = "Shutting down"
    slug: ClassVar[str] = "shutting-down"
    is_retried: ClassVar[bool | None] = True


class TooManyConnections(Problem):
    """As many connections are open as may be, and none of them makes room."""

    status: ClassVar[int] = 503
    title: ClassVar[str] = "There are too many connections"
    slug: ClassVar[str] = "too-many-connections"
    is_retried: ClassVar[bool | None] = True


class JobFailed(Problem):
    """An accepted job raised an error."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The image could not be made"
    slug: ClassVar[str] = "job-failed"
    is_retried: ClassVar[bool | None] = False


class JobCrashed(Problem):
    """An accepted job was running in two crashes of the worker."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The image could not be made"
    slug: ClassVar[str] = "job-crashed"
    is_retried: ClassVar[bool | None] = False


class JobCancelled(Problem):
    """An accepted job was given up because its client went away."""

    status: ClassVar[int] = 499
    title: ClassVar[str] = "The client went away"
    slug: ClassVar[str] = "cancelled"


class JobExpired(Problem):
    """The deadline of an accepted job passed."""

    status: ClassVar[int] = 504
    title: ClassVar[str] = "The deadline passed"
    slug: ClassVar[str] = "expired"
    is_retried: ClassVar[bool | None] = False


class InternalError(Problem):
    """A defect of ours."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal-error"


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
