"""Which web pages may ask from a browser: those of the origins that the operator names, and no others."""

from __future__ import annotations

from fastapi import FastAPI

from dit_serve.service.settings import read_settings
from tests.service.asgi import Header, ask
from tests.service.http.test_auth import KEY, bearer, settings, with_app

ORIGIN = "https://gallery.example.org"
FROM_THERE: Header = (b"origin", ORIGIN.encode())
PREFLIGHT: list[Header] = [
    (b"access-control-request-method", b"POST"),
    (b"access-control-request-headers", b"authorization,content-type,x-deadline-ms"),
]


def test_a_preflight_needs_no_key_and_the_request_after_it_does() -> None:
    async def test(app: FastAPI) -> None:
        asked = await ask(app, "OPTIONS", "/generate", [FROM_THERE, *PREFLIGHT])
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert {"authorization", "x-api-key", "content-type", "x-deadline-ms"} <= {
            name.strip().lower() for name in asked.headers["access-control-allow-headers"].split(",")
        }
        assert "access-control-allow-credentials" not in asked.headers
        refused = await ask(app, "POST", "/generate", [FROM_THERE])
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)

    with_app(test, settings(DIT_CORS_ORIGINS=f"http://localhost:3000, {ORIGIN}"))


def test_a_page_may_read_the_headers_that_we_explain() -> None:
    async def test(app: FastAPI) -> None:
        answer = await ask(app, "GET", "/", [FROM_THERE, bearer(KEY)])
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert exposed == {
            "X-Seed", "X-Request-Id", "Server-Timing", "ETag", "Retry-After", "Retry-After-Ms", "X-Should-Retry",
        }

    with_app(test, settings(DIT_CORS_ORIGINS=ORIGIN))


def test_pages_of_other_origins_may_not() -> None:
    async def test(app: FastAPI) -> None:
        other: Header = (b"origin", b"https://evil.example.org")
        assert (await ask(app, "OPTIONS", "/generate", [other, *PREFLIGHT])).status == 400
        answer = await ask(app, "GET", "/", [other, bearer(KEY)])
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (200, None)

    with_app(test, settings(DIT_CORS_ORIGINS=ORIGIN))


def test_by_default_no_page_may() -> None:
    async def test(app: FastAPI) -> None:
        assert (await ask(app, "OPTIONS", "/generate", [FROM_THERE, *PREFLIGHT])).status == 405
        assert "access-control-allow-origin" not in (await ask(app, "GET", "/", [FROM_THERE])).headers

    with_app(test, read_settings({}, {}))
