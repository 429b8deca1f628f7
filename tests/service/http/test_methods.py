"""HEAD is GET without its body, on every path there is, and a 405 names what would do."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.metrics_app import metrics_app
from tests.service.asgi import ask
from tests.service.http.test_auth import KEY, bearer, every_path, settings, with_app

PASSING = {"x-request-id", "date"}  # headers that no two answers share


def test_head_has_the_status_and_headers_of_get_and_no_body() -> None:
    async def test(app: FastAPI) -> None:
        for path in [*every_path(app), "/no/such", "/docs/"]:
            for keys in ([], [bearer(KEY)]):
                got, head = [await ask(app, method, path, keys) for method in ("GET", "HEAD")]
                assert (head.status, head.body) == (got.status, b""), path
                assert {name: head.headers[name] for name in head.headers.keys() - PASSING} == {
                    name: got.headers[name] for name in got.headers.keys() - PASSING
                }, path
                assert got.headers["content-length"] == str(len(got.body))

    with_app(test)


@pytest.mark.parametrize("path", ["/metrics", "/", "/no"])
def test_the_metrics_answer_head_too(path: str) -> None:
    async def test() -> None:
        app = metrics_app(CollectorRegistry())
        got, head = [await ask(app, method, path) for method in ("GET", "HEAD")]
        assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")
        assert (await ask(app, "PUT", "/metrics")).headers["allow"] == "GET, HEAD"

    asyncio.run(test())


@pytest.mark.parametrize(("origins", "more"), [("", ""), ("https://a.example.org", ", OPTIONS")])
def test_405_names_the_methods_that_are_answered(origins: str, more: str) -> None:
    async def test(app: FastAPI) -> None:
        for path in every_path(app):
            methods = [each.upper() for each in app.openapi()["paths"].get(path, {"get": {}})]
            allowed = [each for each in ("GET", "POST") if each in methods]
            answer = await ask(app, "DELETE", path)
            expected = ", ".join(allowed).replace("GET", "GET, HEAD") + more
            assert (answer.status, answer.headers["allow"]) == (405, expected), path
            for method in answer.headers["allow"].split(", "):
                assert (await ask(app, method, path)).status != 405, (method, path)

    with_app(test, read_settings({"DIT_CORS_ORIGINS": origins}, {}))


def test_where_browsers_ask_for_leave_options_tells_the_methods() -> None:
    async def test(app: FastAPI) -> None:
        answer = await ask(app, "OPTIONS", "/generate", [bearer(KEY)])
        assert (answer.status, answer.headers["allow"], answer.body) == (204, "POST, OPTIONS", b"")
        assert (await ask(app, "OPTIONS", "/generate")).status == 401

    with_app(test, settings(DIT_CORS_ORIGINS="*"))
