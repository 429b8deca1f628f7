"""Behind a path prefix: links have it, routes and keys do not know it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI

from dit_serve.service.settings import read_settings
from tests.service.asgi import Answer, Header, ask
from tests.service.http.test_auth import KEY, bearer, settings, with_app


def forwarded(prefix: str) -> Header:
    return b"x-forwarded-prefix", prefix.encode("latin-1")


def links(answer: Answer) -> set[str]:
    """The paths that the catalogue names, without their queries."""
    document: dict[str, Any] = json.loads(answer.body)
    return {link["href"].partition("?")[0] for link in document.values() if isinstance(link, dict)}


async def check_links(app: FastAPI, prefix: str, headers: list[Header]) -> None:
    """All that we link to has this prefix."""
    page = await ask(app, "GET", "/docs", headers)
    assert f'href="{prefix}/openapi.json"' in page.body.decode()
    catalogue = await ask(app, "GET", "/", headers)
    assert {f"{prefix}/generate", f"{prefix}/v1/models", f"{prefix}/docs"} < links(catalogue)
    described = await ask(app, "GET", "/openapi.json", headers)
    assert json.loads(described.body)["servers"] == [{"url": prefix}]
    for answer in (page, catalogue, described):
        assert answer.headers["cache-control"] == "no-store"
        assert "X-Forwarded-Prefix" in answer.headers["vary"]


@pytest.mark.parametrize("prefix", ["/images", "/tools/images.v1", "/~a_b-c"])
def test_a_proxy_may_say_its_prefix(prefix: str) -> None:
    async def test(app: FastAPI) -> None:
        await check_links(app, prefix, [forwarded(prefix)])
        await check_links(app, prefix, [forwarded(f"{prefix}/")])

    with_app(test, read_settings({}, {}))


def test_the_operators_prefix_counts_before_any_header() -> None:
    async def test(app: FastAPI) -> None:
        await check_links(app, "/images", [])
        await check_links(app, "/images", [forwarded("/evil")])

    with_app(test, read_settings({"DIT_ROOT_PATH": "/images/"}, {}))


@pytest.mark.parametrize(
    "sent",
    [
        "", "/", "images", "//evil.example.org", "/a//b", "/../a", "/a/.", "https://evil.example.org", "/a b", "/a?b",
        '/"><script>alert(1)</script>', "/a'", "/a;b", "/%2e%2e", "/ä", "/a, /b", "/" + "a" * 200, "/a\\b", "/{x}",
    ],
)
def test_a_header_that_is_no_plain_prefix_is_as_none(sent: str) -> None:
    async def test(app: FastAPI) -> None:
        plain = [(await ask(app, "GET", path)).body for path in ("/", "/docs", "/openapi.json")]
        for headers in ([forwarded(sent)], [forwarded("/a"), forwarded("/b")]):
            assert [(await ask(app, "GET", path, headers)).body for path in ("/", "/docs", "/openapi.json")] == plain
        assert b"servers" not in plain[2]

    with_app(test, read_settings({}, {}))


def test_paths_are_answered_with_the_operators_prefix_and_without() -> None:
    async def test(app: FastAPI) -> None:
        for path in ("/livez", "/v1/models", "/docs", "/docs/start.js", "/openapi.json", "/"):
            expected = (await ask(app, "GET", path, [bearer(KEY)])).status
            assert (await ask(app, "GET", f"/images{path}", [bearer(KEY)])).status == expected, path
        plain, under = [await ask(app, "GET", path, [bearer(KEY)]) for path in ("/", "/images")]
        assert links(under) == links(plain)
        for path in ("/imageslivez", "/images/images/livez", "/other/livez", "/livez/images"):
            assert (await ask(app, "GET", path, [bearer(KEY)])).status == 404, path

    with_app(test, settings(DIT_ROOT_PATH="/images"))


def test_a_prefix_opens_no_path_and_closes_none() -> None:
    async def test(app: FastAPI) -> None:
        for path in ("/livez", "/docs", "/images/livez", "/images/docs", "/images/openapi.json", "/images", "/images/"):
            assert (await ask(app, "GET", path)).status == 200, path
        for path in ("/images/v1/models", "/images/generate", "/images/web", "/images/livez/v1/models"):
            for headers in ([], [forwarded("/images")], [forwarded("/livez")]):
                assert (await ask(app, "GET", path, headers)).status == 401, path
        assert (await ask(app, "GET", "/livez/v1/models", [forwarded("/livez")])).status == 401

    with_app(test, settings(DIT_ROOT_PATH="/images"))


def test_a_route_of_ours_is_itself_though_it_begins_as_the_prefix_does() -> None:
    async def test(app: FastAPI) -> None:
        for path in ("/docs", "/docs/start.js", "/docs/docs", "/docs/docs/start.js", "/docs/livez"):
            assert (await ask(app, "GET", path)).status == 200, path

    with_app(test, read_settings({}, {"root_path": "/docs"}))


def test_a_request_under_the_prefix_is_counted_as_its_route() -> None:
    async def test(app: FastAPI) -> None:
        await ask(app, "GET", "/images/livez")
        assert {route for route, *_ in app.state.tally.answered} == {"/livez"}

    with_app(test, read_settings({}, {"root_path": "/images"}))


def test_the_page_has_no_script_of_its_own_under_a_prefix() -> None:
    async def test(app: FastAPI) -> None:
        page = await ask(app, "GET", "/docs", [forwarded("/images")])
        assert not re.search(r"<style|style=|<script>|\son\w+=", page.body.decode())
        assert "script-src 'self'" in page.headers["content-security-policy"]

    with_app(test, read_settings({}, {}))
