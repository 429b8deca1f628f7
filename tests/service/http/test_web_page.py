"""The page and its files: who gets it, with which headers, and what keeps it small on the wire."""

from __future__ import annotations

import gzip
import json
import re
from importlib.resources import files

import pytest
from fastapi import FastAPI

from dit_serve.service.http.web_page import FOLDER, MEDIA_TYPES, has_it
from dit_serve.service.settings import read_settings
from tests.service.asgi import Answer, Header, ask
from tests.service.http.test_auth import settings, with_app

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
IN_PACKAGE = sorted(file.name for file in (files("dit_serve.service.http") / "web").iterdir())


def accept(value: str) -> Header:
    return b"accept", value.encode()


async def page_of(app: FastAPI, path: str = "/", *headers: Header) -> Answer:
    return await ask(app, "GET", path, [accept(CHROMIUM), *headers])


def links(answer: Answer) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', answer.body.decode())


@pytest.mark.parametrize(
    "sent",
    [
        CHROMIUM, FIREFOX, "text/html", "text/*", "text/html, */*", "text/html;q=0.5",
        "application/json;q=0.5, text/html;q=0.6",
    ],
)
def test_who_prefers_html_gets_the_page(sent: str) -> None:
    async def test(app: FastAPI) -> None:
        answer = await ask(app, "GET", "/", [accept(sent)])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.body.startswith(b"<!doctype html>")

    with_app(test, read_settings({}, {}))


@pytest.mark.parametrize(
    "sent",
    [
        None, "", "*/*", "application/json", "text/html;q=0", "text/html, application/json",
        "text/html;q=x", "application/json, text/html;q=0.9", "image/png", "application/*;q=0.9, text/html;q=0.8",
    ],
)
def test_everybody_else_gets_where_things_are(sent: str | None) -> None:
    async def test(app: FastAPI) -> None:
        answer = await ask(app, "GET", "/", [] if sent is None else [accept(sent)])
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["service"] == "dit-serve"

    with_app(test, read_settings({}, {}))


def test_both_say_what_they_depend_on() -> None:
    async def test(app: FastAPI) -> None:
        for answer in (await page_of(app), await ask(app, "GET", "/")):
            assert answer.headers["vary"] == "Accept, X-Forwarded-Prefix"
            assert answer.headers["cache-control"] == "no-store"

    with_app(test, read_settings({}, {}))


def test_the_page_may_load_and_ask_nothing_of_other_hosts() -> None:
    async def test(app: FastAPI) -> None:
        headers = (await page_of(app)).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob: data:",
            "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        }
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")

    with_app(test, read_settings({}, {}))


@pytest.mark.parametrize("prefix", ["", "/images", "/tools/images"])
def test_links_of_the_page_lead_to_what_is_there(prefix: str) -> None:
    async def test(app: FastAPI) -> None:
        sent = [(b"x-forwarded-prefix", prefix.encode())] if prefix else []
        found = links(await page_of(app, "/", *sent))
        assert any(link.endswith(".js") for link in found)
        for link in found:
            assert link.startswith(f"{prefix}/" if prefix else ("web/", "favicon"))
            assert (await ask(app, "GET", "/" + link.removeprefix(f"{prefix}/"))).status == 200, link

    with_app(test, read_settings({}, {}))


def test_the_page_is_found_under_the_operators_prefix_with_and_without_a_slash() -> None:
    async def test(app: FastAPI) -> None:
        bodies = {(await page_of(app, path)).body for path in ("/", "/images", "/images/")}
        assert len(bodies) == 1
        for link in links(await page_of(app, "/images")):
            assert link.startswith("/images/")
            assert (await ask(app, "GET", link)).status == 200, link

    with_app(test, read_settings({"DIT_ROOT_PATH": "/images"}, {}))


def test_every_file_of_the_folder_is_served_as_what_it_is_and_nothing_else() -> None:
    async def test(app: FastAPI) -> None:
        for name in IN_PACKAGE:
            answer = await ask(app, "GET", FOLDER + name)
            if name == "index.html":
                assert answer.status == 404
                continue
            assert answer.status == 200, name
            assert answer.headers["content-type"].split(";")[0] == MEDIA_TYPES["." + name.rpartition(".")[2]]
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["vary"] == "Accept-Encoding"
        for name in ("", "none.js", "../pages.py", "%2e%2e/pages.py", "app.js/", "APP.JS", "./app.js", "app.js.gz"):
            assert (await ask(app, "GET", FOLDER + name)).status == 404, name
        assert (await ask(app, "POST", FOLDER + "app.js")).status == 405

    with_app(test, read_settings({}, {}))


@pytest.mark.parametrize(
    ("encodings", "is_packed"),
    [
        ("gzip, deflate, br, zstd", True), ("GZIP", True), ("x-gzip", True), ("*", True), ("gzip;q=0.5", True),
        ("br, gzip;q=0", False), ("identity", False), ("*;q=0", False), ("br", False), ("", False),
        ("identity, gzip;q=0.5", False), ("gzip;q=0, *", False), ("gzip;q=nan", False),
    ],
)
def test_a_file_comes_compressed_to_who_takes_it(encodings: str, is_packed: bool) -> None:
    async def test(app: FastAPI) -> None:
        plain = await ask(app, "GET", "/web/app.js")
        answer = await ask(app, "GET", "/web/app.js", [(b"accept-encoding", encodings.encode())])
        assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
        assert (gzip.decompress(answer.body) if is_packed else answer.body) == plain.body
        assert (answer.headers["etag"] == plain.headers["etag"]) is not is_packed
        assert int(answer.headers["content-length"]) == len(answer.body)

    with_app(test, read_settings({}, {}))


@pytest.mark.parametrize("encodings", [b"", b"gzip"])
def test_a_file_that_the_client_has_is_not_sent_again(encodings: bytes) -> None:
    async def test(app: FastAPI) -> None:
        coding = (b"accept-encoding", encodings)
        first = await ask(app, "GET", "/web/app.js", [coding])
        tag = first.headers["etag"].encode()
        again = await ask(app, "GET", "/web/app.js", [coding, (b"if-none-match", b'"other", ' + tag)])
        assert (again.status, again.body) == (304, b"")
        for name in ("etag", "cache-control", "vary"):
            assert again.headers[name] == first.headers[name]
        changed = await ask(app, "GET", "/web/app.js", [coding, (b"if-none-match", b'"other"')])
        assert changed.body == first.body

    with_app(test, read_settings({}, {}))


@pytest.mark.parametrize(
    ("sent", "has"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ("", False), ('"b"', False), ("a", False)],
)
def test_entity_tags_are_compared_weakly(sent: str, has: bool) -> None:
    assert has_it(sent, '"a"') is has


def test_head_of_a_file_is_get_without_its_body() -> None:
    async def test(app: FastAPI) -> None:
        got, head = [await ask(app, method, "/web/app.js") for method in ("GET", "HEAD")]
        assert (head.status, head.body) == (200, b"")
        assert head.headers.keys() == got.headers.keys()
        assert head.headers["content-length"] == got.headers["content-length"]

    with_app(test, read_settings({}, {}))


def test_the_page_and_its_files_need_no_key_and_what_they_ask_does() -> None:
    async def test(app: FastAPI) -> None:
        assert (await page_of(app)).status == 200
        for path in ("/web/app.js", "/favicon.ico", "/"):
            assert (await ask(app, "GET", path)).status == 200, path
        for path in ("/v1/models", "/web/none.js", "/web", "/web/", "/web/../v1/models", "/web/app.js/"):
            assert (await ask(app, "GET", path)).status == 401, path

    with_app(test, settings())


def test_files_are_counted_as_one_and_the_page_by_its_path() -> None:
    async def test(app: FastAPI) -> None:
        await page_of(app)
        await ask(app, "GET", "/web/app.js")
        assert dict(app.state.tally.answered) == {("/", 200, ""): 1, ("other", 200, ""): 1}

    with_app(test, read_settings({}, {}))
