"""POST /v1/images/generations without a stream: what is answered, to the letter of OpenAI's own types."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types import ImagesResponse
from PIL import Image

from dit_serve.service.image.png import read_receipt
from dit_serve.service.settings import read_settings
from tests.service.asgi import ask
from tests.service.fake import RAISES
from tests.service.http.test_app import assert_problem
from tests.service.http.test_auth import with_app

PATH = "/v1/images/generations"
WISH = {"prompt": "class 3", "steps": 2, "seed": 5}


def generations(client: httpx.Client, body: dict[str, Any], **headers: str) -> httpx.Response:
    return client.post(PATH, json=body, headers=headers)


def answer_to(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = generations(client, body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer: dict[str, Any] = response.json()
    ImagesResponse.model_validate(answer)  # which leaves no literal out, as clients in strict languages
    return answer


def files_of(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in answer["data"]]


def generated(client: httpx.Client, **body: Any) -> bytes:
    response = client.post("/generate", json=body, headers={"Accept": "image/png"})
    assert response.status_code == 200, response.text
    return response.content


@pytest.mark.parametrize("n", [1, 3])
def test_a_picture_is_that_of_generate_byte_for_byte(client: httpx.Client, n: int) -> None:
    files = files_of(answer_to(client, {**WISH, "n": n}))
    assert files == [generated(client, class_id=3, steps=2, seed=5 + k) for k in range(n)]


def test_an_answer_says_what_was_drawn_and_with_what(client: httpx.Client) -> None:
    before = int(time.time())
    answer = answer_to(client, {**WISH, "cfg": 2, "sampler": "ddpm"})
    (picture,) = answer.pop("data")
    assert before <= answer.pop("created") <= time.time()
    assert answer == {
        "background": "opaque", "output_format": "png", "quality": "high", "size": "64x64",
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
                  "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}},
    }  # fmt: skip
    receipt = read_receipt(base64.b64decode(picture.pop("b64_json")))
    assert picture.pop("revised_prompt") == "class 3: class 3"
    assert picture.pop("timing_ms").keys() == {"queue", "denoise", "decode", "encode"}
    assert picture == {name: getattr(receipt, name) for name in receipt.__dataclass_fields__}
    assert (receipt.class_id, receipt.cfg, receipt.sampler, receipt.seed) == (3, 2.0, "ddpm", 5)


def test_the_headers_are_those_of_generate(client: httpx.Client) -> None:
    response = generations(client, {**WISH, "n": 2})
    assert response.headers["x-seed"] == "5, 6"
    assert response.headers["server-timing"].startswith("queue;dur=")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["image/png", "text/event-stream", "text/html", "nonsense"])
def test_accept_changes_nothing(client: httpx.Client, accept: str) -> None:
    response = generations(client, WISH, Accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


def test_size_chooses_the_model(client: httpx.Client) -> None:
    answer = answer_to(client, {**WISH, "size": "128x128"})
    assert (answer["size"], answer["data"][0]["model"]) == ("128x128", "fake-128")


@pytest.mark.parametrize("form", ["webp", "jpeg"])
def test_a_lossy_form_has_no_receipt_in_its_file_and_all_of_it_beside(client: httpx.Client, form: str) -> None:
    best, small = (
        answer_to(client, {**WISH, "output_format": form, "output_compression": quality}) for quality in (100, 10)
    )
    assert best["output_format"] == form
    assert best["data"][0]["seed"] == 5
    image = Image.open(io.BytesIO(*files_of(best)))
    assert (image.format, image.size, image.info.get("dit:seed")) == (form.upper(), (64, 64), None)
    assert len(*files_of(small)) < len(*files_of(best)) / 2


def test_the_asked_quality_is_repeated(client: httpx.Client) -> None:
    answer = answer_to(client, {**WISH, "quality": "medium"})
    assert answer["quality"] == "medium"
    assert files_of(answer) == files_of(answer_to(client, WISH))


def test_fields_without_effect_have_none(client: httpx.Client) -> None:
    idle = {"style": "vivid", "moderation": "low", "complexity": "high", "user": "me", "safety_identifier": "me",
            "background": "opaque", "partial_images": 2, "stream": False}  # fmt: skip
    assert files_of(answer_to(client, WISH | idle)) == files_of(answer_to(client, WISH))


def test_wrong_fields_are_400_with_the_first_of_them_as_param(client: httpx.Client) -> None:
    body = assert_problem(generations(client, {"prompt": "no class", "n": 0, "steps": 0}), 400, "invalid-request")
    assert [fault["field"] for fault in body["errors"]] == ["n", "steps", "prompt"]  # type: ignore[attr-defined]
    assert body["error"] == {
        "message": body["detail"], "type": "invalid_request_error", "param": "n", "code": "invalid_request"
    }


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [(b"{", 400, "malformed-body"), (b"[]", 400, "invalid-request"), (b'{"prompt": "3", "model": "dall-e-3"}', 404,
     "model-not-found"), (b'{"prompt": "%d", "steps": 1}' % RAISES, 500, "job-failed"),
     (b'{"prompt": "%s"}' % (b"x" * 20_000), 413, "body-too-large")],
    ids=["no json", "no object", "no model", "raises", "long"],
)  # fmt: skip
def test_problems_have_openais_member(client: httpx.Client, content: bytes, status: int, slug: str) -> None:
    response = client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    body = assert_problem(response, status, slug)
    assert body["error"]["code"] == slug.replace("-", "_")  # type: ignore[index]


def test_an_absent_model_is_told_with_those_that_are_loaded(client: httpx.Client) -> None:
    detail = generations(client, {"prompt": "3", "model": "secret"}).json()["error"]["message"]
    assert detail == "no model is called so; loaded are fake-64, fake-128"


def test_a_deadline_that_passes_is_504(client: httpx.Client) -> None:
    response = generations(client, {"prompt": "92", "steps": 1000, "deadline_ms": 30})
    assert response.status_code in (503, 504)  # refused at once where steps were measured, else expired
    assert response.headers["x-should-retry"] == "false"


def test_requests_are_counted_by_their_protocol_and_refused_before_a_model_is_loaded() -> None:
    async def test(app: FastAPI) -> None:
        sent = [(b"content-type", b"application/json")]
        assert (await ask(app, "POST", PATH, sent, [b'{"prompt": "3", "model": "a"}'])).status == 503
        assert (await ask(app, "POST", PATH, sent, [b'{"prompt": "3", "model": "a", "n": 0}'])).status == 400
        assert app.state.tally.answered == {(PATH, 503, "openai"): 1, (PATH, 400, "openai"): 1}

    with_app(test, read_settings({}, {}))


def test_other_methods_are_405(client: httpx.Client) -> None:
    assert client.get(PATH).headers["allow"] == "POST"
