"""The clients that people have: Triton's, with its event loop and without, and what KServe's sends."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tritonclient import http as triton
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from tests.service.fake import RAISES, SLOW
from tests.service.running import Running, fake_command, running

MODEL, ALIAS = "org/fake-64", "gpt-image-1"
CHOSEN = {"steps": 3, "cfg": 2.5, "seed": 5}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_command("--model-aliases", f"{ALIAS}={MODEL}", models=f"fake-64,{MODEL}")) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def expected(server: Running) -> list[bytes]:
    """What /generate makes of class 7 with these parameters: two images."""
    with server.client() as client:
        answer = client.post("/generate", json={"class_id": 7, "model": MODEL, "n": 2, **CHOSEN}).json()
    return [base64.b64decode(image["b64_png"]) for image in answer["images"]]


def pixels(pngs: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])


def classes(*class_ids: int, is_binary: bool = True) -> list[triton.InferInput]:
    tensor = triton.InferInput("class_id", [len(class_ids)], "INT64")
    tensor.set_data_from_numpy(np.array(class_ids, np.int64), binary_data=is_binary)
    return [tensor]


def wanted(is_binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("seed", "png", "image")]


def assert_as_expected(result: triton.InferResult, expected: list[bytes], *, is_binary: bool) -> None:
    pngs = result.as_numpy("png").tolist()
    assert (pngs if is_binary else [base64.b64decode(png) for png in pngs]) == expected
    assert np.array_equal(result.as_numpy("image"), pixels(expected))
    assert result.as_numpy("image").dtype == np.uint8
    assert result.as_numpy("seed").tolist() == [5, 6]


def test_triton_finds_the_service_and_its_models(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready("nobody")
    assert client.get_model_metadata(MODEL) == client.get_model_metadata(ALIAS, "1")
    assert client.get_model_metadata(MODEL)["name"] == MODEL


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("wants_binary", [True, False], ids=["to binary", "to json"])
def test_triton_gets_the_images_of_generate(
    client: triton.InferenceServerClient, expected: list[bytes], is_binary: bool, wants_binary: bool
) -> None:
    inputs = classes(7, 7, is_binary=is_binary)
    result = client.infer(MODEL, inputs, outputs=wanted(wants_binary), request_id="abc", parameters=CHOSEN)
    assert_as_expected(result, expected, is_binary=wants_binary)
    assert result.get_response()["id"] == "abc"


@pytest.mark.parametrize(("name", "model_version"), [(MODEL, ""), (MODEL, "1"), (ALIAS, "")])
def test_triton_gets_pixels_and_seeds_if_it_does_not_say(
    client: triton.InferenceServerClient, expected: list[bytes], name: str, model_version: str
) -> None:
    result = client.infer(name, classes(7, 7), model_version, parameters=CHOSEN, query_params={"a": "b"})
    assert [output["name"] for output in result.get_response()["outputs"]] == ["image", "seed"]
    assert np.array_equal(result.as_numpy("image"), pixels(expected))
    assert result.get_response()["model_name"] == MODEL


def test_triton_sends_one_value_an_image(client: triton.InferenceServerClient, server: Running) -> None:
    inputs = [triton.InferInput("label", [64], "BYTES"), triton.InferInput("cfg", [64], "FP32"),
              triton.InferInput("seed", [64, 1], "INT64"), triton.InferInput("steps", [64], "INT32")]  # fmt: skip
    scales = np.linspace(1, 7.3, 64, dtype=np.float32).round(1)
    inputs[0].set_data_from_numpy(np.array([f"kind {k}" for k in range(64)], object))
    inputs[1].set_data_from_numpy(scales)
    inputs[2].set_data_from_numpy(np.arange(64, dtype=np.int64).reshape(64, 1))
    inputs[3].set_data_from_numpy(np.full(64, 2, np.int32))
    result = client.infer(MODEL, inputs, outputs=wanted(True))
    with server.client() as http:
        for k in (0, 1, 63):
            request = {"class_id": k, "model": MODEL, "cfg": float(str(scales[k])), "steps": 2, "seed": k}
            assert http.post("/generate", json=request).content == result.as_numpy("png")[k]


def test_triton_tells_errors_in_our_words(client: triton.InferenceServerClient) -> None:
    for name, class_id, parameters, status, message in (
        (MODEL, 500, {}, "400", f"class_id[0]: is 500; {MODEL} has classes 0 to 99"),
        ("nobody", 1, {}, "404", "no model is called so; loaded are "),
        (MODEL, RAISES, {"steps": 1}, "500", "an error came up while this image was being made"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            client.infer(name, classes(class_id), parameters=parameters)
        assert caught.value.status() == status
        assert caught.value.message().startswith(message)


def test_triton_gives_up_after_its_timeout(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(MODEL, classes(SLOW), timeout=30_000, priority=1)
    assert caught.value.status() == "504"


def test_triton_is_told_not_to_compress(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="without compression") as caught:
        client.infer(MODEL, classes(7), request_compression_algorithm="gzip")
    assert caught.value.status() == "415"


def test_triton_gets_the_same_in_an_event_loop(server: Running, expected: list[bytes]) -> None:
    async def scene() -> None:
        async with aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_model_ready(MODEL)
            assert (await client.get_model_metadata(MODEL))["platform"] == "dit-serve"
            result = await client.infer(MODEL, classes(7, 7), outputs=wanted(True), parameters=CHOSEN)
            assert_as_expected(result, expected, is_binary=True)
            with pytest.raises(InferenceServerException, match="no model is called so"):
                await client.infer("nobody", classes(7))

    asyncio.run(scene())


def kserve(*, is_binary: bool, outputs: list[dict[str, Any]]) -> tuple[bytes, dict[str, str]]:
    """What `InferenceRESTClient.infer` of kserve 0.21 sends, as it was recorded."""
    tensor: dict[str, Any] = {"name": "class_id", "shape": [2], "datatype": "INT64"}
    tensor |= {"parameters": {"binary_data_size": 16}} if is_binary else {"data": [7, 7]}
    members = {"id": str(uuid.UUID(int=7)), "model_name": MODEL, "inputs": [tensor], "outputs": outputs}
    text = json.dumps(members | {"parameters": CHOSEN}, separators=(",", ":")).encode()
    if not is_binary:
        return text, {"Content-Type": "application/json"}
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    return text + np.array([7, 7], np.int64).tobytes(), headers


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
def test_kserve_gets_the_images_of_generate(server: Running, expected: list[bytes], is_binary: bool) -> None:
    body, headers = kserve(is_binary=is_binary, outputs=[{"name": "image"}, {"name": "png"}])
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"{server.url}/v2/models/{MODEL}/infer", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    image, png = answer.json()["outputs"]
    assert np.array_equal(np.array(image["data"], np.uint8).reshape(image["shape"]), pixels(expected))
    assert [base64.b64decode(text) for text in png["data"]] == expected
    assert answer.json()["id"] == str(uuid.UUID(int=7))
