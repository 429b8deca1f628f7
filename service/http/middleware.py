"""Around every request: its id, its log line, its count, and the answer to an error that nothing else caught.

Pure ASGI. A client's X-Request-Id is kept if it is harmless, else a new one is made. HEAD is answered as GET without
the body, on every route.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dit_serve.service.errors import InternalError, ShuttingDown
from dit_serve.service.http.problems import problem_response
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.routes import Routes
from dit_serve.service.telemetry.tally import CLIENT_LEFT, Tally
from dit_serve.service.telemetry.traces import name_request

REQUEST_ID = "X-Request-Id"
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_LOGGED_PATH = 200
# Asked every few seconds by machines: of no interest in a log, and open without a key.
PROBES = ("/livez", "/readyz", "/health", "/ping", "/v2/health/live", "/v2/health/ready")


class RequestMiddleware:
    """Gives each request an id, answers what nobody caught, counts it and writes one line.

    Args:
        app: what is asked.
        tally: where requests are counted.
        routes: the names by which paths are counted.
        quiet: the paths that are of no interest in a log where they are answered well.
    """

    def __init__(
        self, app: ASGIApp, tally: Tally, routes: Routes | None = None, quiet: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._tally = tally
        self._routes = routes or Routes(())
        self._quiet = quiet
        self._log = logging.getLogger("dit.request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id_of(Headers(scope=scope).get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = identity
        name_request(identity)
        began, status, is_head = time.monotonic(), 0, scope["method"] == "HEAD"
        scope["state"]["is_head"] = is_head
        self._tally.received += 1

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = identity
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app({**scope, "method": "GET"} if is_head else scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server ends, and has waited as long as it does
            if status == 0:
                problem = ShuttingDown("the service has ended; ask again when it is back")
                response = problem_response(problem, scope, identity)
                await response(scope, receive, send_with_id)
            raise
        except Exception:
            self._log.exception("unexpected error", extra={"fields": {"request_id": identity}})
            if status == 0:
                response = problem_response(InternalError("an unexpected error; the log has it"), scope, identity)
                await response(scope, receive, send_with_id)
        finally:
            ended_as = scope["state"].get("ended_as", status)
            route, protocol = self._routes.name_of(scope["path"]), scope["state"].get("protocol", "")
            self._tally.end(ended_as, route, protocol, was_accepted=_was_accepted(scope))
            self._write_line(scope, identity, ended_as, time.monotonic() - began)

    def _write_line(self, scope: Scope, identity: str, status: int, seconds: float) -> None:
        fields = {
            "event": "request",
            "request_id": identity,
            "method": scope["method"],
            "path": scope["path"][:_MAX_LOGGED_PATH],
            "status": status,
            "seconds": round(seconds, 6),
        }
        extra = {"fields": fields, "was_accepted": _was_accepted(scope)}
        self._log.log(self._level(scope, status), "request", extra=extra)

    def _level(self, scope: Scope, status: int) -> int:
        """How much a request's line matters; one whose jobs were made has a line for each of them already."""
        if scope["path"] in PROBES or (scope["path"] in self._quiet and status < 400):
            return logging.DEBUG
        if status >= 500:
            return logging.WARNING
        is_told = _was_accepted(scope) and (200 <= status < 300 or status == CLIENT_LEFT)
        return logging.DEBUG if is_told else logging.INFO


def _was_accepted(scope: Scope) -> bool:
    return "has_jobs" in scope["state"]


def asks_for_images(request: Request, protocol: Protocol) -> None:
    """Says that a request is for images, whatever will become of it, and in which protocol."""
    request.state.protocol = protocol.value


def is_head(request: Request) -> bool:
    """Whether the request is a HEAD, which comes to its route as GET, and whose answer nobody gets the body of."""
    return bool(request.state.is_head)


def has_jobs(request: Request) -> None:
    """Says that a request has led to jobs, each of which writes a line of its own at its end."""
    request.state.has_jobs = True


def end_as(request: Request, status: int) -> None:
    """Says what a request amounts to, where that is not the status that its answer began with."""
    request.state.ended_as = status


def request_id_of(sent: str | None) -> str:
    """The client's id if it is 1 to 64 of A-Z a-z 0-9 . _ - (nothing that could forge a log line), else a new one."""
    return sent if sent is not None and _HARMLESS_ID.fullmatch(sent) else uuid.uuid4().hex


def request_id(request: Request) -> str:
    """The id of a request that passed through the middleware."""
    return str(request.state.request_id)
