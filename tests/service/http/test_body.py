"""Which bodies are read: JSON in UTF-8 that is not compressed."""

from __future__ import annotations

import gzip

import pytest
from fastapi import FastAPI

from dit_serve.service.errors import UnsupportedMediaType
from dit_serve.service.http.body import check_media_type, check_not_encoded
from dit_serve.service.settings import read_settings
from tests.service.asgi import ask
from tests.service.http.test_auth import with_app


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json ; charset=utf8; profile=x",
        "application/json;",
        "application/vnd.example.v1+json",
    ],
)
def test_json_in_utf_8_is_read(content_type: str) -> None:
    check_media_type(content_type)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-16", 'application/json;a=b; CHARSET = "latin-1"', "a/b+json"]
)
def test_json_in_another_charset_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json"):
        check_media_type(content_type)


@pytest.mark.parametrize("content_type", ["", "text/json", "application/jsonp", "application/json+xml", "json", ";"])
def test_another_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="send Content-Type: application/json"):
        check_media_type(content_type)


@pytest.mark.parametrize("coding", ["gzip", "BR", "zstd", "identity, gzip", "x-unknown", "identity;q=1", "deflate,"])
def test_a_compressed_body_is_refused_and_told_what_would_do(coding: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        check_not_encoded(coding)
    assert caught.value.headers == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize("coding", ["", "identity", "Identity", " , identity"])
def test_a_body_that_is_not_compressed_is_read(coding: str) -> None:
    check_not_encoded(coding)


def test_the_answer_to_a_compressed_body_has_the_header() -> None:
    async def test(app: FastAPI) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"identity")]
        headers += [(b"content-encoding", b"GZip")]
        answer = await ask(app, "POST", "/generate", headers, [gzip.compress(b'{"class_id": 7}')])
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert b"without compression" in answer.body
        assert "accept-encoding" not in (await ask(app, "POST", "/generate")).headers

    with_app(test, read_settings({}, {}))
