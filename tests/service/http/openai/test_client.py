"""OpenAI's own Python package against a real server: what people's programs see."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent

from tests.service.fake import RAISES, SLOW
from tests.service.http.openai.conftest import KEY, SLASHED, WITH_KEY
from tests.service.http.openai.test_images import generated
from tests.service.http.streams import streaming
from tests.service.running import PATIENCE_SECONDS, Running

FILLING = {"class_id": SLOW, "n": 16, "steps": 50}  # all places of the guarded server's queue


def sdk(server: Running, key: str = KEY, **options: Any) -> openai.OpenAI:
    transport = openai.DefaultHttpx2Client(trust_env=False)
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key, http_client=transport, timeout=PATIENCE_SECONDS, **options
    )


def picture_of(answer: openai.types.ImagesResponse, index: int = 0) -> bytes:
    assert answer.data
    return base64.b64decode(answer.data[index].b64_json or "")


@pytest.fixture
def ask(fake_server: Running) -> Iterator[openai.OpenAI]:
    with sdk(fake_server) as ask:
        yield ask


@pytest.fixture
def keyed(guarded: Running) -> Iterator[openai.OpenAI]:
    with sdk(guarded) as keyed:
        yield keyed


def test_generate_gives_the_bytes_of_generate(ask: openai.OpenAI, client: httpx.Client) -> None:
    extra = {"cfg": 2.5, "steps": 3, "seed": 11, "sampler": "ddpm"}
    answer = ask.images.generate(
        model="fake-64", prompt="kind 7", n=2, size="64x64", response_format="b64_json", extra_body=extra
    )
    assert [picture_of(answer, k) for k in (0, 1)] == [
        generated(client, class_id=7, **{**extra, "seed": 11 + k}) for k in (0, 1)
    ]


def test_what_openai_has_no_field_for_is_in_model_extra(ask: openai.OpenAI) -> None:
    answer = ask.images.generate(prompt="7", extra_body={"num_inference_steps": 3, "guidance_scale": 2, "seed": 11})
    assert answer.data
    extra = answer.data[0].model_extra or {}
    assert (extra["seed"], extra["class_id"], extra["steps"], extra["cfg"]) == (11, 7, 3, 2.0)
    assert answer.data[0].revised_prompt == "class 7: class 7"
    assert (answer.size, answer.output_format, answer.usage and answer.usage.total_tokens) == ("64x64", "png", 0)


def test_a_stream_is_looks_and_then_the_image(ask: openai.OpenAI, client: httpx.Client) -> None:
    extra = {"steps": 12, "seed": 3}
    with ask.images.generate(prompt=str(SLOW), stream=True, partial_images=2, extra_body=extra) as stream:
        *looks, done = list(stream)
    assert looks
    assert all(isinstance(look, ImageGenPartialImageEvent) for look in looks)
    assert isinstance(done, ImageGenCompletedEvent)
    assert base64.b64decode(done.b64_json) == generated(client, class_id=SLOW, **extra)
    assert (done.model_extra or {})["seed"] == 3


def test_a_failure_in_a_stream_is_raised(ask: openai.OpenAI) -> None:
    with ask.images.generate(prompt=str(RAISES), stream=True) as stream:
        with pytest.raises(openai.APIError, match="while this image was being made") as raised:
            list(stream)
    assert (raised.value.code, raised.value.type) == ("job_failed", "server_error")


def test_the_asynchronous_client_sees_the_same(fake_server: Running, client: httpx.Client) -> None:
    async def both() -> tuple[bytes, list[str]]:
        transport = openai.DefaultAsyncHttpx2Client(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{fake_server.url}/v1", api_key=KEY, http_client=transport) as ask:
            extra = {"steps": 3, "seed": 11}
            answer = await ask.images.generate(prompt="7", extra_body=extra)
            stream = await ask.images.generate(prompt="7", stream=True, extra_body=extra)
            events = [event.type async for event in stream]
            models = [model.id async for model in ask.models.list()]
            assert models == ["fake-64", "fake-128"]
            return picture_of(answer), events

    picture, events = asyncio.run(both())
    assert picture == generated(client, class_id=7, steps=3, seed=11)
    assert events == ["image_generation.completed"]


def test_a_wrong_field_is_named(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask.images.generate(prompt="no such class")
    assert (raised.value.param, raised.value.type) == ("prompt", "invalid_request_error")
    assert "no class is called this" in raised.value.message
    with pytest.raises(openai.BadRequestError) as raised:
        ask.images.generate(prompt="7", size="1024x1024")
    assert raised.value.param == "size"
    assert "64x64 (fake-64), 128x128 (fake-128)" in raised.value.message


def test_a_model_that_is_not_loaded_is_not_found(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        ask.images.generate(model="gpt-image-2", prompt="7")
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as raised:
        ask.models.retrieve("gpt-image-2")
    assert raised.value.code == "model_not_found"


def test_an_image_that_failed_is_not_asked_for_again(ask: openai.OpenAI, fake_server: Running) -> None:
    named = {"X-Request-Id": "fails-once"}
    with pytest.raises(openai.InternalServerError) as raised:
        ask.images.generate(prompt=str(RAISES), extra_body={"steps": 1}, extra_headers=named)
    assert raised.value.code == "job_failed"
    ask.models.retrieve("fake-64", extra_headers={"X-Request-Id": "after-the-failure"})
    fake_server.wait_for(lambda line: line.get("request_id") == "after-the-failure")
    asked = [line for line in fake_server.find("request") if line["request_id"] == "fails-once"]
    assert [line["status"] for line in asked] == [500]


def test_a_full_queue_is_come_back_to(guarded: Running) -> None:
    statuses = []
    with streaming(guarded, FILLING, **WITH_KEY) as (filling, events):
        assert next(events)[0] == "queued"

        def see(response: Any) -> None:
            statuses.append(response.status_code)
            filling.close()  # which frees the queue at the next step

        transport = openai.DefaultHttpx2Client(trust_env=False, event_hooks={"response": [see]})
        with sdk(guarded).with_options(http_client=transport) as patient:
            assert picture_of(patient.images.generate(prompt="7", extra_body={"steps": 2}))
    assert statuses[0] == 429
    assert statuses[-1] == 200


def test_a_full_queue_is_a_rate_limit_to_who_does_not_come_back(guarded: Running, keyed: openai.OpenAI) -> None:
    with streaming(guarded, FILLING, **WITH_KEY) as (_, events):
        assert next(events)[0] == "queued"
        with pytest.raises(openai.RateLimitError) as raised:
            keyed.with_options(max_retries=0).images.generate(prompt="7")
    assert raised.value.code == "queue_full"
    assert raised.value.response.headers["x-should-retry"] == "true"
    assert int(raised.value.response.headers["retry-after-ms"]) > 0


def test_a_wrong_key_is_an_authentication_error(guarded: Running) -> None:
    with sdk(guarded, "another-key") as ask:
        for call in (lambda: ask.models.list(), lambda: ask.images.generate(prompt="7")):
            with pytest.raises(openai.AuthenticationError) as raised:
                call()
            assert (raised.value.type, raised.value.code) == ("authentication_error", "unauthorized")


def test_the_models_are_listed_with_their_aliases(keyed: openai.OpenAI) -> None:
    models = {model.id: model for model in keyed.models.list()}
    assert list(models) == [SLASHED, "fake-128", "gpt-image-1"]
    assert len({model.created for model in models.values()}) == 1
    assert {(model.object, model.owned_by) for model in models.values()} == {("model", "dit-serve")}
    assert (models["gpt-image-1"].model_extra or {})["name"] == SLASHED


@pytest.mark.parametrize("name", [SLASHED, "fake-128", "gpt-image-1"])
def test_a_model_is_retrieved_by_every_name(keyed: openai.OpenAI, name: str) -> None:
    assert keyed.models.retrieve(name) == next(model for model in keyed.models.list() if model.id == name)


def test_an_alias_makes_images_of_its_model(keyed: openai.OpenAI) -> None:
    answer = keyed.images.generate(model="gpt-image-1", prompt="7", size="auto", extra_body={"steps": 2, "seed": 1})
    assert answer.data
    assert (answer.data[0].model_extra or {})["model"] == SLASHED
