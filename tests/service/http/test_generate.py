"""POST /generate: what comes out, and how every wrong request is answered."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest

from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.image.png import read_receipt
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Verdict
from dit_serve.service.wire.job import Outcome
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import ask
from tests.service.fake import RAISES, FakeDoor
from tests.service.http.test_app import assert_problem

JSON = {"Accept": "application/json"}
MAX_SEED = 2**63 - 1


def post(client: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    """Sends raw bytes or a value as JSON."""
    sent = {"Content-Type": "application/json", **headers}
    if isinstance(body, bytes):
        return client.post("/generate", content=body, headers=sent)
    return client.post("/generate", json=body, headers=sent)


def test_one_image_comes_as_png_with_its_receipt(client: httpx.Client) -> None:
    response = post(client, {"class_id": 7, "cfg": 2.5, "steps": 20, "seed": 11, "sampler": "ddpm"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-seed"] == "11"
    receipt = read_receipt(response.content)
    assert (receipt.class_id, receipt.class_name, receipt.cfg, receipt.steps) == (7, "class 7", 2.5, 20)
    assert (receipt.sampler, receipt.seed, receipt.resolution, receipt.model) == ("ddpm", 11, 64, "fake-64")


def test_defaults_are_cfg_4_and_50_steps_of_ddim(client: httpx.Client) -> None:
    receipt = read_receipt(post(client, {"class_id": 0}).content)
    assert (receipt.cfg, receipt.steps, receipt.sampler, receipt.resolution) == (4.0, 50, "ddim", 64)


def test_server_timing_has_every_stage(client: httpx.Client) -> None:
    timing = post(client, {"class_id": 0, "steps": 3}).headers["server-timing"]
    stages = dict(part.split(";dur=") for part in timing.split(", "))
    assert list(stages) == ["queue", "denoise", "decode", "encode"]
    assert all(float(value) >= 0 for value in stages.values())


def test_the_same_seed_gives_the_same_bytes(client: httpx.Client) -> None:
    body = {"class_id": 3, "steps": 5, "seed": 1}
    assert post(client, body).content == post(client, body).content


def test_an_absent_seed_is_drawn_and_told(client: httpx.Client) -> None:
    first, second = (post(client, {"class_id": 3, "steps": 2}) for _ in range(2))
    assert first.headers["x-seed"] != second.headers["x-seed"]
    again = post(client, {"class_id": 3, "steps": 2, "seed": int(first.headers["x-seed"])})
    assert again.content == first.content


def test_resolution_chooses_the_model(client: httpx.Client) -> None:
    assert read_receipt(post(client, {"class_id": 3, "resolution": 128}).content).model == "fake-128"


def test_several_images_come_as_json_with_distinct_seeds_in_their_receipts(client: httpx.Client) -> None:
    response = post(client, {"class_id": 3, "steps": 2, "seed": 5, "n": 16}, **JSON)
    images = response.json()["images"]
    assert [image["seed"] for image in images] == list(range(5, 21))
    receipts = [read_receipt(base64.b64decode(image["b64_png"])) for image in images]
    assert [receipt.seed for receipt in receipts] == list(range(5, 21))
    assert response.headers["x-seed"] == ", ".join(map(str, range(5, 21)))


def test_the_json_answer_repeats_the_receipt(client: httpx.Client) -> None:
    (image,) = post(client, {"class_id": 3, "steps": 2, "seed": 5}, **JSON).json()["images"]
    receipt = read_receipt(base64.b64decode(image.pop("b64_png")))
    assert image.pop("timing_ms").keys() == {"queue", "denoise", "decode", "encode"}
    assert image == {name: getattr(receipt, name) for name in receipt.__dataclass_fields__}


def test_json_and_png_carry_the_same_bytes(client: httpx.Client) -> None:
    body = {"class_id": 3, "steps": 2, "seed": 5}
    (image,) = post(client, body, **JSON).json()["images"]
    assert base64.b64decode(image["b64_png"]) == post(client, body).content


def test_n_images_equal_n_requests(client: httpx.Client) -> None:
    together = post(client, {"class_id": 3, "steps": 2, "seed": 5, "n": 3}, **JSON).json()["images"]
    alone = [post(client, {"class_id": 3, "steps": 2, "seed": 5 + k}).content for k in range(3)]
    assert [base64.b64decode(image["b64_png"]) for image in together] == alone


def test_drawn_seeds_of_one_request_differ(client: httpx.Client) -> None:
    images = post(client, {"class_id": 3, "steps": 2, "n": 16}, **JSON).json()["images"]
    assert len({image["seed"] for image in images}) == 16


def test_seeds_wrap_at_the_largest(client: httpx.Client) -> None:
    images = post(client, {"class_id": 3, "steps": 2, "seed": MAX_SEED, "n": 2}, **JSON).json()["images"]
    assert [image["seed"] for image in images] == [MAX_SEED, 0]


@pytest.mark.parametrize("cfg", [1, 1.0, 4, 4.0, 20])
def test_cfg_may_be_a_json_integer(client: httpx.Client, cfg: float) -> None:
    assert read_receipt(post(client, {"class_id": 3, "cfg": cfg, "steps": 2}).content).cfg == cfg


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "class_id"),
        ({"class_id": -1}, "class_id"),
        ({"class_id": 100}, "class_id"),
        ({"class_id": 10**30}, "class_id"),
        ({"class_id": True}, "class_id"),
        ({"class_id": "1"}, "class_id"),
        ({"class_id": 1.5}, "class_id"),
        ({"class_id": None}, "class_id"),
        ({"class_id": [1]}, "class_id"),
        ({"class_id": 1, "cfg": 0.99}, "cfg"),
        ({"class_id": 1, "cfg": 20.01}, "cfg"),
        ({"class_id": 1, "cfg": "4"}, "cfg"),
        ({"class_id": 1, "cfg": False}, "cfg"),
        ({"class_id": 1, "steps": 0}, "steps"),
        ({"class_id": 1, "steps": 1001}, "steps"),
        ({"class_id": 1, "steps": 2.5}, "steps"),
        ({"class_id": 1, "seed": -1}, "seed"),
        ({"class_id": 1, "seed": 2**63}, "seed"),
        ({"class_id": 1, "seed": False}, "seed"),
        ({"class_id": 1, "resolution": 256}, "resolution"),
        ({"class_id": 1, "resolution": "64"}, "resolution"),
        ({"class_id": 1, "sampler": "euler"}, "sampler"),
        ({"class_id": 1, "sampler": "x" * 100}, "sampler"),
        ({"class_id": 1, "n": 0}, "n"),
        ({"class_id": 1, "n": 17}, "n"),
        ({"class_id": 1, "guidance_scale": 0.5}, "guidance_scale"),
        ({"class_id": 1, "guidance_scale": 4, "cfg": 4}, "guidance_scale"),
        ({"class_id": 1, "num_inference_steps": 1001}, "steps"),
        ({"class_id": 1, "steps": 4, "num_inference_steps": 4}, "num_inference_steps"),
        ({"class_id": 1, "class": "kind 1"}, "class"),
        ({"class": "no such thing"}, "class"),
        ({"class": ""}, "class"),
        ({"class": 7}, "class"),
        ({"class": "1000"}, "class"),
        ({"class_id": 1, "model": "none-such"}, "model"),
        ({"class_id": 1, "model": "fake-64", "resolution": 128}, "resolution"),
        ({"class_id": 1, "guidance": 4.0}, "(unknown)"),
        ({"class_id": 1, "steps ": 4}, "(unknown)"),
        ([], "(body)"),
        (3, "(body)"),
        (b"null", "(body)"),
    ],
)
def test_a_wrong_field_is_named(client: httpx.Client, body: Any, field: str) -> None:
    problem = assert_problem(post(client, body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"])
@pytest.mark.parametrize("field", [b"cfg", b"steps"])
def test_what_is_no_number_is_422(client: httpx.Client, field: bytes, number: bytes) -> None:
    assert_problem(post(client, b'{"class_id": 1, "%s": %s}' % (field, number)), 422, "invalid-request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"class_id=7",
        b'{"class_id": 1',
        b'{"class_id": 01}',
        b'{"class_id": ' + b"9" * 5000 + b"}",
        b"[" * 8000,
        b'{"class_id":' * 1000,
        b'\xff{"class_id": 1}',
        b'{"class_id": 1, "sampler": "\xff"}',
        b'{"class_id": 1, "sampler": "\\ud800"}',
        '{"class_id": 1}'.encode("utf-16"),
        b'{"class_id": 1}{"class_id": 1}',
    ],
)
def test_what_is_no_json_is_400(client: httpx.Client, body: bytes) -> None:
    assert_problem(post(client, body), 400, "malformed-body")


def test_every_wrong_field_is_named_at_once(client: httpx.Client) -> None:
    body = {"class_id": 500, "num_inference_steps": 5000, "cfg": 0, "guidance_scale": 2, "sampler": "euler", "huh": 1}
    problem = assert_problem(post(client, body, **{"X-Deadline-Ms": "soon"}), 422, "invalid-request")
    assert {error["field"] for error in problem["errors"]} == {  # type: ignore[attr-defined]
        "class_id", "steps", "cfg", "guidance_scale", "sampler", "(unknown)", "X-Deadline-Ms",
    }


def test_without_its_model_what_no_other_could_do_is_told_too(client: httpx.Client) -> None:
    body = {"class_id": 500, "model": "none", "resolution": 99, "cfg": 0}
    problem = assert_problem(post(client, body), 422, "invalid-request")
    assert {error["field"] for error in problem["errors"]} == {  # type: ignore[attr-defined]
        "cfg", "model", "resolution", "class_id",
    }


@pytest.mark.parametrize("name", ["class 42", "KIND  42", " Class 42", "42"])
def test_a_class_may_be_given_by_name(client: httpx.Client, name: str) -> None:
    body = {"steps": 2, "seed": 1}
    named = post(client, {"class": name, **body})
    assert named.content == post(client, {"class_id": 42, **body}).content
    receipt = read_receipt(named.content)
    assert (receipt.class_id, receipt.class_name) == (42, "class 42")


def test_neither_class_nor_id_is_told_as_such(client: httpx.Client) -> None:
    assert post(client, {}).json()["detail"] == "class_id: class_id or class is required"


def test_diffusers_spellings_are_taken(client: httpx.Client) -> None:
    theirs = post(client, {"class_id": 3, "guidance_scale": 2, "num_inference_steps": 3, "seed": 1})
    assert theirs.content == post(client, {"class_id": 3, "cfg": 2, "steps": 3, "seed": 1}).content
    assert (read_receipt(theirs.content).cfg, read_receipt(theirs.content).steps) == (2.0, 3)


def test_an_error_names_the_number_and_the_range(client: httpx.Client) -> None:
    problem = post(client, {"class_id": 100}).json()
    assert problem["detail"] == "class_id: is 100; fake-64 has classes 0 to 99"


@pytest.mark.parametrize(
    "body",
    [{"class_id": "secret"}, {"class_id": 1, "secret": 1}, {"class_id": 1, "sampler": "secret"}, {"class": "secret"}],
)
def test_an_error_repeats_no_text_of_the_client(client: httpx.Client, body: dict[str, Any]) -> None:
    assert "secret" not in post(client, body).text


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_content_type_is_415(client: httpx.Client, media_type: str) -> None:
    response = client.post("/generate", content=b'{"class_id": 1}', headers={"Content-Type": media_type})
    assert_problem(response, 415, "unsupported-media-type")


def test_content_type_may_have_parameters_and_any_case(client: httpx.Client) -> None:
    assert post(client, {"class_id": 1}, **{"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 200


def test_a_large_body_is_413(client: httpx.Client) -> None:
    assert_problem(post(client, b" " * 16385), 413, "body-too-large")


def test_a_large_chunked_body_is_413(client: httpx.Client) -> None:
    chunks = (b" " * 1024 for _ in range(17))
    response = client.post("/generate", content=chunks, headers={"Content-Type": "application/json"})
    assert_problem(response, 413, "body-too-large")


def test_a_body_at_the_limit_is_read(client: httpx.Client) -> None:
    assert post(client, b'{"class_id": 1}' + b" " * (16384 - 15)).status_code == 200


@pytest.mark.parametrize("images", [1, 3])
def test_a_client_that_leaves_gives_up_its_images(images: int) -> None:
    async def run() -> None:
        front = Front(["false"], Configure(models=("fake-64",)), max_queue_sequences=32)  # no worker ever takes a job
        front.models = {"fake-64": FakeDoor().info}
        app, leaves = create_app(front, read_settings({}, {})), asyncio.Event()
        body = [b'{"class_id": 1, "n": %d}' % images]
        asked = asyncio.create_task(
            ask(app, "POST", "/generate", [(b"content-type", b"application/json")], body, leaves)
        )
        while len(front.ledger) < images:
            await asyncio.sleep(0)
        leaves.set()
        assert (await asked).status == 499
        assert len(front.ledger) == 0
        assert front.ledger.counters.ended[Outcome.CANCELLED] == images
        assert app.state.tally.ended[Verdict.CANCELLED] == 1

    asyncio.run(run())


def test_a_job_that_raises_is_500_without_its_text(client: httpx.Client) -> None:
    response = post(client, {"class_id": RAISES})
    assert_problem(response, 500, "job-failed")
    assert "this class raises" not in response.text
