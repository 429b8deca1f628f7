"""GET /metrics, for Prometheus: an application of its own, because it is served on a port of its own.

The text or OpenMetrics, as the client accepts, by prometheus-client's own application. It is made in the event loop,
so that one answer is one moment; GPUs are asked before, in a thread. Knows no front.
"""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dit_serve.service.telemetry.gpu_metrics import GpuCollector

PATH = "/metrics"


def metrics_app(registry: CollectorRegistry, gpus: GpuCollector | None = None) -> ASGIApp:
    """The application.

    Args:
        registry: what is told.
        gpus: asked anew for every answer; None without GPUs.
    """
    render = make_asgi_app(registry, disable_compression=True)  # to compress takes longer than all else

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            send = _without_body(send)
        if scope["path"] != PATH:
            await PlainTextResponse(f"the metrics are at {PATH}\n", 404)(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await PlainTextResponse("GET alone\n", 405, {"Allow": "GET, HEAD"})(scope, receive, send)
            return
        if gpus is not None:
            await asyncio.to_thread(gpus.read)
        # What Prometheus sends is ASCII, and all series; anything else would be an error there.
        headers = [(name, value) for name, value in scope["headers"] if name.isascii() and value.isascii()]
        await render({**scope, "headers": headers, "query_string": b""}, receive, send)

    return app


def _without_body(send: Send) -> Send:
    async def send_without_body(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_without_body
