"""The stream of POST /v1/images/generations: events that OpenAI's clients know, and no other."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image

from dit_serve.models.options import SampleSpec
from dit_serve.service.http.openai import stream
from dit_serve.service.http.openai.pictures import PictureStyle
from dit_serve.service.http.openai.stream import PictureTeller
from dit_serve.service.image.png import read_receipt
from dit_serve.service.wire.job import Job, Preview
from tests.service.fake import RAISES, SLOW, FakeDoor
from tests.service.http.openai.test_images import PATH, generated
from tests.service.http.streams import Event, parse

PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"
TYPES = {PARTIAL: ImageGenPartialImageEvent, COMPLETED: ImageGenCompletedEvent}


def lines_of(client: httpx.Client, body: dict[str, Any]) -> list[str]:
    with client.stream("POST", PATH, json={"stream": True, **body}) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        return list(response.iter_lines())


def events_of(client: httpx.Client, body: dict[str, Any]) -> list[Event]:
    events = list(parse(lines_of(client, body)))
    for name, data in events:
        assert data["type"] == name
        if name in TYPES:
            TYPES[name].model_validate(data)  # type: ignore[attr-defined]
    return events


def test_a_stream_without_looks_is_its_images(client: httpx.Client) -> None:
    ((name, data),) = events_of(client, {"prompt": "3", "steps": 2, "seed": 5})
    assert name == COMPLETED
    assert base64.b64decode(data["b64_json"]) == generated(client, class_id=3, steps=2, seed=5)
    assert (data["index"], data["seed"], data["class_id"], data["class_name"]) == (0, 5, 3, "class 3")
    assert data["revised_prompt"] == "class 3: class 3"
    assert (data["size"], data["quality"], data["background"]) == ("64x64", "high", "opaque")
    assert data["usage"]["total_tokens"] == 0
    receipt = read_receipt(base64.b64decode(data["b64_json"]))
    assert {name: data[name] for name in receipt.__dataclass_fields__} == {
        name: getattr(receipt, name) for name in receipt.__dataclass_fields__
    }


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
def test_looks_come_at_the_images_size_and_in_its_form(client: httpx.Client, form: str, kind: str) -> None:
    body = {"prompt": str(SLOW), "steps": 12, "partial_images": 2, "size": "128x128", "output_format": form}
    *looks, (last, done) = events_of(client, body)
    assert [name for name, _ in looks] == [PARTIAL] * len(looks)
    assert 1 <= len(looks) <= 2
    assert [data["partial_image_index"] for _, data in looks] == list(range(len(looks)))
    assert last == COMPLETED
    for _, data in looks:
        image = Image.open(io.BytesIO(base64.b64decode(data["b64_json"])))
        assert (image.format, image.size, data["size"]) == (kind, (128, 128), "128x128")
    assert {data["output_format"] for _, data in [*looks, (last, done)]} == {form}


def test_several_images_are_told_apart_by_their_index(client: httpx.Client) -> None:
    body = {"prompt": str(SLOW), "steps": 10, "n": 3, "seed": 7, "partial_images": 3}
    events = events_of(client, body)
    done = {data["index"]: data for name, data in events if name == COMPLETED}
    assert {index: data["seed"] for index, data in done.items()} == {0: 7, 1: 8, 2: 9}
    for index in range(3):
        looks = [data["partial_image_index"] for name, data in events if name == PARTIAL and data["index"] == index]
        assert looks == list(range(len(looks)))
        assert len(looks) <= 3


def test_a_failure_is_an_error_and_the_last_event(client: httpx.Client) -> None:
    ((name, data),) = events_of(client, {"prompt": str(RAISES), "n": 2})
    assert name == "error"
    assert data.keys() == {"type", "error"}
    assert data["error"].keys() == {"message", "type", "param", "code"}
    assert (data["error"]["type"], data["error"]["code"]) == ("server_error", "job_failed")


def test_a_stream_begins_with_a_comment_before_any_image(client: httpx.Client) -> None:
    assert lines_of(client, {"prompt": "3", "steps": 2})[0].startswith(":")


def test_every_event_of_the_stream_is_described(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    answers = document["paths"][PATH]["post"]["responses"]["200"]["content"]
    events = answers["text/event-stream"]["itemSchema"]["oneOf"]
    assert [event["properties"]["event"]["const"] for event in events] == [PARTIAL, COMPLETED, "error"]
    for event in (event["properties"] for event in events):
        schema = document["components"]["schemas"][event["data"]["contentSchema"]["$ref"].rpartition("/")[2]]
        assert schema["properties"]["type"]["const"] == event["event"]["const"]


def test_a_wrong_request_for_a_stream_is_answered_as_every_other(client: httpx.Client) -> None:
    response = client.post(PATH, json={"prompt": "no class", "stream": True})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


SPEC = SampleSpec(3, 5, 10)


@pytest.fixture
def teller() -> PictureTeller:
    return PictureTeller([Job(1, "an-id", "fake-64", SPEC)], FakeDoor().info, PictureStyle(), partial_images=1)


def test_a_step_is_told_as_a_comment_after_long_silence_alone(
    teller: PictureTeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(teller.progress(0, 1, 10, None)) == b""
    monkeypatch.setattr(stream, "PING_SECONDS", 0.0)
    assert asyncio.run(teller.progress(0, 2, 10, None)).startswith(b":")


def test_no_more_looks_are_told_than_were_asked_for(teller: PictureTeller) -> None:
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    first, second = (asyncio.run(teller.preview(0, Preview(1, step, png.getvalue()))) for step in (3, 6))
    assert first.startswith(b"event: image_generation.partial_image\n")
    assert second == b""
