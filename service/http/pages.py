"""What a browser asks for: /docs, where the API can be read and tried, and an icon.

Swagger UI, whose files the package fastapi-offline carries, so that the page needs no other host; a strict
Content-Security-Policy holds it to that. A browser sends no key with a page, nor with what the page loads: so the page
and the description that it shows are open. Neither says more than this project's public documentation; what is tried
there is sent with the key that is entered under "Authorize", which the page keeps in its memory alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dit_serve.service.http.prefix import PER_PREFIX, prefix_of

SCRIPT, STYLE, START = "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js"
DESCRIPTION = "/openapi.json"
PIECE_BYTES = 64 << 10
OPEN_PAGES = frozenset({"/docs", SCRIPT, STYLE, START, "/favicon.ico", DESCRIPTION})

# A tried request's image comes as blob:, and the style sheet's own icons as data:.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_CACHED = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}

# Links are relative, so that they hold behind a proxy that says nothing of the prefix that it puts before our paths.
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dit-serve</title>
<link rel="icon" href="favicon.ico">
<link rel="service-desc" type="application/json" href="{{description}}">
<link rel="stylesheet" href="{STYLE[1:]}">
<div id="api"></div>
<script src="{SCRIPT[1:]}"></script>
<script src="{START[1:]}"></script>
"""
_START = """SwaggerUIBundle({
  url: document.querySelector("link[rel=service-desc]").href,
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" rx="2" fill="#36c"/>'
    '<path d="M2 2h1v1h-1zM4 2h2v4h-2zM2 4h1v2h-1z" fill="#fff"/></svg>'
)


def page_routes() -> list[Route]:
    """The routes, for GET alone."""

    def page(request: Request) -> Response:
        prefix = prefix_of(request)
        text = _PAGE.format(description=f"{prefix}/{DESCRIPTION[1:]}" if prefix else DESCRIPTION[1:])
        return Response(text, media_type="text/html", headers=_HEADERS | PER_PREFIX)

    folder = files("fastapi_offline") / "static"
    script, style = ((folder / Path(path).name).read_bytes() for path in (SCRIPT, STYLE))
    answers: dict[str, Callable[[Request], Response]] = {
        "/docs": page,
        START: lambda _: Response(_START, media_type="text/javascript", headers=_CACHED),
        SCRIPT: lambda _: _in_pieces(script, "text/javascript"),
        STYLE: lambda _: _in_pieces(style, "text/css"),
        "/favicon.ico": lambda _: Response(_ICON, media_type="image/svg+xml", headers=_CACHED),
    }
    return [Route(path, _endpoint(answer), methods=["GET"]) for path, answer in answers.items()]


def _in_pieces(content: bytes, media_type: str) -> Response:
    """A large answer of which little waits for who does not read it; nor is a file open for as long."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]

    headers = {**_CACHED, "Content-Length": str(len(content))}
    return StreamingResponse(pieces(), media_type=media_type, headers=headers)


def _endpoint(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint
