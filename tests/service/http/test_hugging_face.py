"""Hugging Face's text-to-image task, asked by the clients that people have: huggingface_hub's, plain and async."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from PIL import Image

from dit_serve.service.image.png import read_receipt
from tests.service.fake import RAISES
from tests.service.http.test_app import assert_problem
from tests.service.http.test_auth import KEY
from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

SEVEN = {"seed": 5, "num_inference_steps": 3, "guidance_scale": 1.5}


@pytest.fixture(autouse=True)
def nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, and no proxy between us and the loopback."""
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"DIT_API_KEYS": KEY, "DIT_MODEL_ALIASES": "black-forest/FLUX=fake-64"}
    with running(fake_command(models="fake-64"), **settings) as server:
        yield server


def inference(server: Running, path: str = "", **options: Any) -> InferenceClient:
    return InferenceClient(base_url=server.url + path, timeout=PATIENCE_SECONDS, **options)


def posted(client: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return client.post(path, json=body, headers=headers)


def same_pixels(a: Image.Image, b: bytes) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(Image.open(io.BytesIO(b))))


def test_the_client_gets_the_image_of_generate(fake_server: Running, client: httpx.Client) -> None:
    ours = posted(client, "/generate", {"class_id": 7, "model": "fake-128", "sampler": "ddpm", **SEVEN}).content
    path = "/models/fake-128"
    for asks in (InferenceClient(model=fake_server.url + path), inference(fake_server, path)):
        image = asks.text_to_image("kind 7", scheduler="DDPMScheduler", width=128, height=128, **SEVEN)
        assert same_pixels(image, ours)
        assert image.text["dit:model"] == "fake-128"  # type: ignore[attr-defined]
    image = inference(fake_server).text_to_image("7", extra_body={"sampler": "ddpm"}, width=128, height=128, **SEVEN)
    assert same_pixels(image, ours)


def test_the_async_client_gets_many_at_once(fake_server: Running) -> None:
    async def ask() -> list[Image.Image]:
        async with AsyncInferenceClient(base_url=fake_server.url, timeout=PATIENCE_SECONDS) as asks:
            return await asyncio.gather(*(asks.text_to_image(f"class {k}", seed=5) for k in range(4)))

    images = asyncio.run(ask())
    assert [image.text["dit:class_id"] for image in images] == ["0", "1", "2", "3"]  # type: ignore[attr-defined]
    assert images[0].text["dit:cfg"] == "4.0"  # type: ignore[attr-defined]


def test_the_client_shows_our_words_once(fake_server: Running) -> None:
    with pytest.raises(BadRequestError) as caught:
        inference(fake_server).text_to_image("eleven", height=32, negative_prompt="blurry", num_inference_steps=0)
    text = str(caught.value)
    assert text.startswith("(Request ID: ")
    for said in (
        "inputs: no class is called this", "parameters.height: is 32; there is 64 (fake-64), 128 (fake-128)",
        "parameters.negative_prompt: there is none", "parameters.num_inference_steps: is 0; must be greater",
    ):  # fmt: skip
        assert text.count(said) == 1, text
    assert text.count("there is 64") == text.count("no class is called") == 1
    assert "eleven" not in text
    assert "{" not in text
    assert caught.value.server_message in text


def test_the_async_client_shows_them_too(fake_server: Running) -> None:
    async def ask() -> str:
        async with AsyncInferenceClient(base_url=fake_server.url, timeout=PATIENCE_SECONDS) as asks:
            with pytest.raises(BadRequestError) as caught:
                await asks.text_to_image("class 7", width=64, height=128)
            return str(caught.value)

    assert asyncio.run(ask()).count("parameters.height: is 128, and width is 64: images are square") == 1


def test_a_model_that_is_not_loaded_is_not_found(fake_server: Running) -> None:
    with pytest.raises(HfHubHTTPError, match="no model is called so; loaded are fake-64, fake-128") as caught:
        inference(fake_server, "/models/stabilityai/sdxl").text_to_image("class 7")
    assert caught.value.response.status_code == 404
    assert "sdxl" not in (caught.value.server_message or "")


def test_an_image_that_fails_is_told_so(fake_server: Running) -> None:
    with pytest.raises(HfHubHTTPError, match="an error came up while this image was being made") as caught:
        inference(fake_server).text_to_image(f"class {RAISES}")
    assert caught.value.response.status_code == 500


def test_a_key_is_the_clients_token_and_an_alias_names_a_model_with_slashes(guarded: Running) -> None:
    asks = inference(guarded, "/models/black-forest/FLUX", token=KEY)
    assert asks.text_to_image("class 7", seed=5).text["dit:model"] == "fake-64"  # type: ignore[attr-defined]
    assert inference(guarded, api_key=KEY).text_to_image("class 7").size == (64, 64)
    for path in ("", "/models/black-forest/FLUX"):
        with pytest.raises(HfHubHTTPError, match="send Authorization: Bearer KEY") as caught:
            inference(guarded, path).text_to_image("class 7")
        assert caught.value.response.status_code == 401


def test_while_a_model_loads_the_client_is_told_what_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with running(fake_command(models=f"waiting-64:{tmp_path}/fifo"), until_ready=False) as server:
        for path in ("", "/models/waiting-64"):
            with pytest.raises(HfHubHTTPError, match=r"loading|starting") as caught:
                inference(server, path).text_to_image("class 7")
            assert caught.value.response.status_code == 503
            assert int(caught.value.response.headers["retry-after"]) >= 1
        with server.client() as client:
            assert client.get("/ping").status_code == 503


@pytest.mark.parametrize(
    ("accept", "form"), [("image/jpeg", "JPEG"), ("image/webp, image/*;q=0.5", "WEBP"), ("*/*", "PNG")]
)
def test_an_image_comes_in_the_form_that_is_preferred(client: httpx.Client, accept: str, form: str) -> None:
    answer = posted(client, "/", {"inputs": "class 7", "parameters": SEVEN}, Accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{form.lower()}"
    said = {name: answer.headers[name] for name in ("x-seed", "vary", "cache-control")}
    assert said == {"x-seed": "5", "vary": "Accept", "cache-control": "no-store"}
    assert "denoise;dur=" in answer.headers["server-timing"]
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == (form, (64, 64))
    png = posted(client, "/", {"inputs": "class 7", "parameters": SEVEN}).content
    assert read_receipt(png).class_id == 7
    difference = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(Image.open(io.BytesIO(png)), int))
    assert difference.mean() < (0.5 if form == "PNG" else 50)  # the fake's images are noise, the worst there is


def test_several_images_come_as_json_and_progress_as_events(client: httpx.Client) -> None:
    body = {"inputs": "class 7", "parameters": {**SEVEN, "n": 2}}
    answer = posted(client, "/models/fake-64", body, Accept="application/json").json()
    assert [image["seed"] for image in answer["images"]] == [5, 6]
    stream = posted(client, "/", body, Accept="text/event-stream").text
    assert stream.count("event: completed") == 2
    assert_problem(posted(client, "/", body, Accept="image/png"), 406, "not-acceptable")
    assert_problem(posted(client, "/", {"inputs": "7"}, Accept="text/html"), 406, "not-acceptable")


def test_a_browser_still_gets_the_page_and_a_program_the_paths(client: httpx.Client) -> None:
    assert client.get("/").json()["service"] == "dit-serve"
    assert "text/html" in client.get("/", headers={"Accept": "text/html"}).headers["content-type"]
    allowed = client.put("/").headers["allow"]
    assert {"GET", "HEAD", "POST"} <= set(allowed.split(", "))


def test_sagemaker_finds_its_paths(client: httpx.Client) -> None:
    assert client.get("/ping").json() == client.get("/readyz").json()
    body = {"class_id": 7, **SEVEN}
    assert posted(client, "/invocations", body).content == posted(client, "/generate", body).content
    assert_problem(posted(client, "/invocations", {"class_id": 500}), 422, "invalid-request")
