"""What a connection is told that is one too many: probes are answered, and any other request is refused at once.

Knows probes by their path, and no protocol.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from uvicorn._types import ASGI3Application

from dit_serve.service.errors import TooManyConnections
from dit_serve.service.http.connections import Connections
from dit_serve.service.http.middleware import PROBES, REQUEST_ID, request_id_of
from dit_serve.service.http.problems import problem_response
from dit_serve.service.telemetry.tally import Tally

RETRY_SECONDS = 1.0


def surplus_app(app: ASGI3Application, connections: Connections, tally: Tally) -> ASGI3Application:
    """The application on such a connection.

    Args:
        app: what answers on any other.
        connections: where a refusal is counted.
        tally: where its request is.
    """

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        tally.received += 1
        connections.refused()
        problem = TooManyConnections("as many are open as may be: try again", retry_after=RETRY_SECONDS)
        identity = request_id_of(Headers(scope=scope).get(REQUEST_ID))
        closing = {REQUEST_ID: identity, "Connection": "close"}
        try:
            await problem_response(problem, scope, identity, closing)(scope, receive, send)
        finally:
            tally.end(problem.status)

    return refuse
