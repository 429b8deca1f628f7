"""Who comes in with a key and who does not, on every route that there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from dit_serve.service.errors import SettingsError
from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.http.auth import read_digests
from dit_serve.service.http.web_page import WebPage
from dit_serve.service.settings import Settings, read_settings
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import Answer, Header, ask
from tests.service.fake import SLOW
from tests.service.http.test_server import fail_to_start
from tests.service.running import fake_command, running

KEY = "correct-horse-battery"
OTHER = "staple.0123456789/+=~"
NOT_READY = {"/readyz", "/health", "/ping", "/v2/health/ready"}
PROBES = {"/livez", "/v2/health/live", *NOT_READY}
PAGES = {"/docs", "/openapi.json", "/favicon.ico"}
PAGES |= {f"/docs/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js")}
FILES = {path for path in WebPage().files}
OPEN = PROBES | PAGES | FILES | {"/"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X")


def settings(keys: str = f"{KEY}, {OTHER}", **more: str) -> Settings:
    return read_settings({"DIT_API_KEYS": keys, **more}, {})


def with_app(test: Callable[[FastAPI], Coroutine[Any, Any, None]], chosen: Settings | None = None) -> None:
    """Runs a test on the application of a service whose worker was never started."""

    async def run() -> None:
        front = Front(["false"], Configure(models=("fake-64",)), max_queue_sequences=32)
        await test(create_app(front, chosen or settings()))

    asyncio.run(run())


def bearer(key: bytes | str) -> Header:
    return b"authorization", b"Bearer " + (key.encode() if isinstance(key, str) else key)


def assert_refused(answer: Answer, what: object) -> None:
    assert answer.status == 401, what
    assert answer.headers["www-authenticate"].startswith('Bearer realm="dit-serve"')
    path = what[1] if isinstance(what, tuple) else str(what)
    is_text = path == "/v2" or path.startswith("/v2/")  # the Open Inference Protocol has a form of its own
    assert answer.headers["content-type"] == ("application/json" if is_text else "application/problem+json"), what


def every_path(app: FastAPI) -> set[str]:
    """The paths of all routes, with nothing left out that a router holds."""
    paths = set(app.openapi()["paths"])
    paths |= {str(path) for route in app.routes if (path := getattr(route, "path", None))}
    assert {"/", "/generate", "/docs", "/openapi.json", "/v1/models", "/v1/classes", *OPEN} <= paths
    return paths


def test_every_route_and_method_but_the_open_ones_needs_a_key() -> None:
    async def test(app: FastAPI) -> None:
        for path in every_path(app) - OPEN:
            for method in METHODS:
                assert_refused(await ask(app, method, path), (method, path))

    with_app(test)


def test_a_route_made_later_needs_a_key_too() -> None:
    async def test(app: FastAPI) -> None:
        @app.get("/new")
        async def new() -> str:
            return "secret"

        app.mount("/files", new)
        for path in ("/new", "/files/x"):
            assert_refused(await ask(app, "GET", path), path)
        assert (await ask(app, "GET", "/new", [bearer(KEY)])).status == 200

    with_app(test)


def test_no_way_of_writing_a_path_comes_by_without_a_key() -> None:
    forms = (
        "//{}", "/{}/", "/{};x", "/{}?x", "/{}#x", "/./{}", "/x/../{}", "/%2e/{}", "/livez/../{}", "/livez/{}",
        "/livez;/{}", "/livez?/{}", "/LIVEZ", "/livez/", "//livez", "/livez%00", "/livez\x00{}", "/livez {}",
        "http://x/livez", "http://x/{}", "*", "",
    )

    async def test(app: FastAPI) -> None:
        for path in every_path(app) - OPEN:
            for form in forms:
                for hosts in ([(b"host", b"x/livez?")], [(b"host", b"x"), (b"host", b"y")], []):
                    written = form.format(path.lstrip("/"))
                    assert_refused(await ask(app, "GET", written, hosts), written)

    with_app(test)


def test_the_open_ones_need_none() -> None:
    async def test(app: FastAPI) -> None:
        for path in OPEN:
            assert (await ask(app, "GET", path)).status == (503 if path in NOT_READY else 200), path

    with_app(test)


@pytest.mark.parametrize(
    "header",
    [bearer(KEY), bearer(OTHER), (b"x-api-key", KEY.encode()), (b"authorization", b"bEARER  " + KEY.encode() + b" ")],
)
def test_a_valid_key_comes_in(header: Header) -> None:
    async def test(app: FastAPI) -> None:
        assert (await ask(app, "GET", "/v1/models", [header])).status == 503  # no worker was ever started

    with_app(test)


@pytest.mark.parametrize(
    "headers",
    [
        [bearer("wrong-horse-battery")],
        [bearer(KEY.upper())],
        [bearer(KEY + "x")],
        [bearer(KEY[:-1])],
        [bearer(f"{KEY}, {OTHER}")],
        [bearer(f"{KEY},{OTHER}")],
        [bearer("")],
        [bearer(b"\xff\xfe" * 10)],
        [bearer("schlüssel-zum-glück")],
        [bearer(KEY.encode("utf-16"))],
        [bearer(b"a" * 30_000)],
        [(b"authorization", b"Basic " + KEY.encode())],
        [(b"authorization", KEY.encode())],
        [(b"authorization", b"Bearer" + KEY.encode())],
        [(b"authorization", b"")],
        [(b"x-api-key", b"Bearer " + KEY.encode())],
        [(b"x-api-key", "ключ".encode())],
        [bearer(KEY), bearer("wrong-horse-battery")],
        [bearer(KEY), (b"x-api-key", OTHER.encode())],
        [(b"cookie", KEY.encode())],
    ],
)
def test_any_other_key_is_401(headers: list[Header]) -> None:
    async def test(app: FastAPI) -> None:
        assert_refused(await ask(app, "GET", "/v1/models", headers), headers)

    with_app(test)


def test_the_challenge_says_whether_a_key_was_wrong_or_missing() -> None:
    async def test(app: FastAPI) -> None:
        assert "error" not in (await ask(app, "GET", "/v1/models")).headers["www-authenticate"]
        wrong = await ask(app, "GET", "/v1/models", [bearer("no-such-key")])
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]

    with_app(test)


def test_without_keys_all_is_open() -> None:
    async def test(app: FastAPI) -> None:
        assert (await ask(app, "GET", "/v1/models")).status == 503  # no worker was ever started
        assert "security" not in app.openapi()

    with_app(test, read_settings({}, {}))


def test_openapi_says_that_a_key_is_needed_but_for_the_probes_and_the_page() -> None:
    async def test(app: FastAPI) -> None:
        document = app.openapi()
        assert document["security"] == [{"bearer": []}, {"key": []}]
        assert {path for path, item in document["paths"].items() if item.get("get", {}).get("security") == []} == {
            *PROBES, "/",
        }

    with_app(test)


def test_a_file_adds_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the operators\n\n  {OTHER}  \n")
    digests = read_digests(settings(KEY, DIT_API_KEYS_FILE=str(file)))
    assert digests == read_digests(settings())


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"short\n", b"with space in it\n", "schlüssel-zum-glück\n".encode()]
)
def test_a_file_without_proper_keys_stops_the_start(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="DIT_API_KEYS_FILE"):
        read_digests(settings(DIT_API_KEYS_FILE=str(file)))


def test_a_missing_file_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    sentence = fail_to_start(fake_command(), DIT_API_KEYS_FILE=str(tmp_path / "none"))
    assert "(DIT_API_KEYS_FILE) cannot be read: FileNotFoundError" in sentence


@pytest.mark.parametrize("keys", ["short", "schlüssel-zum-glück", f"{KEY},x", "a b c d e f g h"])
def test_a_key_that_is_none_is_refused_and_not_shown(keys: str) -> None:
    sentence = r"DIT_API_KEYS is \*\*\*: a key is 8 to 256 visible ASCII characters"
    with pytest.raises(SettingsError, match=sentence) as caught:
        settings(keys)
    assert keys not in str(caught.value)


def test_no_key_is_shown_with_the_settings() -> None:
    assert KEY not in f"{settings()!r} {settings()} {settings().model_dump()} {settings().model_dump_json()}"


def test_no_key_is_logged_or_a_flag() -> None:
    with running(fake_command("--log-level", "debug"), DIT_API_KEYS=KEY) as server, server.client() as client:
        assert client.post("/generate", json={"class_id": SLOW, "steps": 1}).status_code == 401
        client.headers["Authorization"] = f"Bearer {KEY}"
        assert client.post("/generate", json={"class_id": SLOW, "steps": 1}).status_code == 200
        client.headers["Authorization"] = "Bearer wrong-horse-battery"
        assert client.get("/v1/models").status_code == 401
        assert server.terminate() == 0
        assert KEY not in str(server.seen)
        assert "wrong-horse" not in str(server.seen)
