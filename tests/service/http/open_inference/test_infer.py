"""The endpoints of the Open Inference Protocol: what comes out is what /generate makes, and how it is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.settings import read_settings
from dit_serve.service.version import version
from dit_serve.service.wire.job import Outcome
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import Answer, Header, ask
from tests.service.fake import RAISES, SLOW, FakeDoor
from tests.service.http.open_inference.test_reading import CLASS_ID, body, tensor

INFER = "/v2/models/fake-64/infer"
PNG = [{"name": "png"}]


def outputs(client: httpx.Client, sent: bytes, path: str = INFER) -> dict[str, Any]:
    """The outputs of a request, by name."""
    response = client.post(path, content=sent)
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def made(client: httpx.Client, **request: Any) -> bytes:
    """The PNG that /generate makes."""
    return client.post("/generate", json=request, headers={"Accept": "image/png"}).content


def error(response: httpx.Response, status: int) -> str:
    """What an error says; it says nothing else."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    told: dict[str, str] = response.json()
    assert told.keys() == {"error"}
    return told["error"]


def test_an_image_is_the_one_of_generate(client: httpx.Client) -> None:
    sent = body(
        tensor("class_id", 7, 8), tensor("cfg", 1.1, 4), tensor("steps", 3, 5), tensor("seed", 11, 12),
        tensor("sampler", "ddpm", "ddim"), outputs=[{"name": "image"}, {"name": "png"}, {"name": "seed"}],
    )  # fmt: skip
    found = outputs(client, sent)
    expected = [
        made(client, class_id=7, cfg=1.1, steps=3, seed=11, sampler="ddpm"),
        made(client, class_id=8, cfg=4, steps=5, seed=12),
    ]
    assert [base64.b64decode(text) for text in found["png"]["data"]] == expected
    assert found["seed"]["data"] == [11, 12]
    pixels = [np.asarray(Image.open(io.BytesIO(png))) for png in expected]
    assert np.array_equal(np.array(found["image"]["data"]).reshape(found["image"]["shape"]), pixels)


def test_parameters_make_the_images_of_one_generate(client: httpx.Client) -> None:
    parameters = {"guidance_scale": 2.5, "num_inference_steps": 3, "seed": 5}
    found = outputs(client, body(tensor("class_id", 7, 7, 7), parameters=parameters, outputs=PNG))
    asked = client.post("/generate", json={"class_id": 7, "cfg": 2.5, "steps": 3, "seed": 5, "n": 3})
    assert found["png"]["data"] == [image["b64_png"] for image in asked.json()["images"]]


def test_a_label_is_the_class_of_that_name(client: httpx.Client) -> None:
    more = {"parameters": {"steps": 3, "seed": 5}, "outputs": PNG}
    found = outputs(client, body(tensor("label", "kind 7", "class 8", "9"), **more))
    assert found == outputs(client, body(tensor("class_id", 7, 8, 9), **more))


def test_seeds_that_are_drawn_are_told(client: httpx.Client) -> None:
    found = outputs(client, body(tensor("class_id", 7, 7), parameters={"steps": 2}))
    first, second = found["seed"]["data"]
    assert first != second
    again = outputs(client, body(tensor("class_id", 7, 7), tensor("seed", first, second), parameters={"steps": 2}))
    assert again == found


def test_an_answer_has_the_seeds_and_the_times_in_its_headers(client: httpx.Client) -> None:
    headers = client.post(INFER, content=body(tensor("class_id", 1, 2), parameters={"seed": 5, "steps": 1})).headers
    assert headers["x-seed"] == "5, 6"
    assert headers["server-timing"].startswith("queue;dur=")
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "application/json", "text/plain"])
def test_no_content_type_is_asked_for(client: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert client.post(INFER, content=body(CLASS_ID, parameters={"steps": 1}), headers=headers).status_code == 200


def test_a_compressed_body_is_refused(client: httpx.Client) -> None:
    response = client.post(INFER, content=body(CLASS_ID), headers={"Content-Encoding": "gzip"})
    assert "without compression" in error(response, 415)


def test_a_large_body_is_refused(client: httpx.Client) -> None:
    assert "a body may have" in error(client.post(INFER, content=bytes(1 << 15)), 413)


def test_a_header_that_is_there_twice_is_refused(client: httpx.Client) -> None:
    sent, name = body(CLASS_ID), "Inference-Header-Content-Length"
    response = client.post(INFER, content=sent, headers=[(name, str(len(sent)))] * 2)
    assert error(response, 400).startswith(f"{name}: must be one whole number")


def test_what_is_no_json_is_refused(client: httpx.Client) -> None:
    assert "one JSON object in UTF-8, such as" in error(client.post(INFER, content=b"\0"), 400)


def test_all_faults_are_told_in_one_text(client: httpx.Client) -> None:
    told = error(client.post(INFER, content=body(tensor("class_id", 1, 500), parameters={"steps": 5000})), 400)
    assert told == (
        "parameters.steps: is 5000; fake-64 takes 1 to 1000; class_id[1]: is 500; fake-64 has classes 0 to 99"
    )


def test_one_image_that_fails_fails_the_request(client: httpx.Client) -> None:
    response = client.post(INFER, content=body(tensor("class_id", 1, RAISES), parameters={"steps": 2}))
    assert error(response, 500) == "an error came up while this image was being made; the log has it"


def test_a_timeout_that_passes_is_told(client: httpx.Client) -> None:
    response = client.post(INFER, content=body(tensor("class_id", SLOW), parameters={"timeout": 20_000}))
    assert error(response, 504)


@pytest.mark.parametrize("path", ["nobody/infer", "fake-64/versions/2/infer", "/infer", "fake-64/infer/infer"])
def test_a_model_or_version_that_there_is_not_is_not_found(client: httpx.Client, path: str) -> None:
    told = error(client.post(f"/v2/models/{path}", content=body(CLASS_ID)), 404)
    assert "fake-64" in told or told == "each model has one version, 1"


@pytest.mark.parametrize("path", ["", "/versions/1"])
def test_a_model_tells_of_its_tensors(client: httpx.Client, path: str) -> None:
    told = client.get(f"/v2/models/fake-128{path}").json()
    assert (told["name"], told["versions"]) == ("fake-128", ["1"])
    assert told["inputs"][0] == {"name": "class_id", "datatype": "INT64", "shape": [-1]}
    assert told["outputs"][0] == {"name": "image", "datatype": "UINT8", "shape": [-1, 128, 128, 3]}
    assert client.get(f"/v2/models/fake-128{path}/ready").json() == {"name": "fake-128", "ready": True}


def test_the_service_tells_of_itself(client: httpx.Client) -> None:
    told = {"name": "dit-serve", "version": version(), "extensions": ["binary_tensor_data"]}
    assert client.get("/v2").json() == told
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("path", ["/v2/models/fake-64/config", "/v2/models/fake-64/versions/1/stats", "/v2/nothing"])
def test_what_there_is_not_is_not_found(client: httpx.Client, path: str) -> None:
    assert error(client.get(path), 404)


def test_the_description_has_both_forms_of_a_request(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        described = paths[path]["post"]
        assert described["requestBody"]["content"].keys() == {"application/json", "application/octet-stream"}
        assert described["responses"]["200"]["content"].keys() == {"application/json", "application/octet-stream"}
        error = described["responses"]["429"]["content"]["application/json"]["schema"]
        assert error["required"] == ["error"]
    others = {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready"}
    assert others <= paths.keys()


@pytest.mark.parametrize("path", ["fake-64/infer", "nobody/infer", "fake-64/versions/1/infer"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_images_are_asked_for_by_post(client: httpx.Client, path: str, method: str) -> None:
    response = client.request(method, f"/v2/models/{path}")
    assert error(response, 405) == "allowed here: POST"
    assert response.headers["allow"] == "POST"


Scene = Callable[[FastAPI, Front], Coroutine[Any, Any, None]]


def without_worker(scene: Scene, *, is_loaded: bool = True) -> None:
    """Plays a scene with a service of 32 places, where no worker ever takes a job."""

    async def run() -> None:
        front = Front(["false"], Configure(models=("fake-64",)), max_queue_sequences=32)
        if is_loaded:
            front.models = {"fake-64": FakeDoor().info}
        await scene(create_app(front, read_settings({}, {})), front)
        assert len(front.ledger) == 0

    asyncio.run(run())


async def infer(app: FastAPI, sent: bytes, *headers: Header, leaves: asyncio.Event | None = None) -> Answer:
    return await ask(app, "POST", INFER, headers, [sent], leaves)


def classes(n: int, **parameters: Any) -> bytes:
    return body(tensor("class_id", *[1] * n), parameters=parameters)


def test_what_an_empty_queue_could_not_hold_is_a_fault_and_no_refusal() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        answer = await infer(app, classes(17))
        assert answer.status == 400
        assert json.loads(answer.body)["error"].startswith("inputs: need 34 places")
        assert "retry-after" not in answer.headers

    without_worker(scene)


def test_all_are_accepted_or_none_and_a_client_that_leaves_frees_its_places() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        leaves = asyncio.Event()
        first = asyncio.create_task(infer(app, classes(10), leaves=leaves))
        while len(front.ledger) < 10:
            await asyncio.sleep(0)
        answer = await infer(app, classes(7))
        assert answer.status == 429
        assert {"retry-after", "retry-after-ms"} <= answer.headers.keys()
        assert "this request needs 14" in json.loads(answer.body)["error"]
        assert len(front.ledger) == 10
        leaves.set()
        assert (await first).status == 499
        assert front.ledger.counters.ended[Outcome.CANCELLED] == 10

    without_worker(scene)


def test_a_deadline_of_the_header_holds_for_all_images() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        assert (await infer(app, classes(3), (b"x-deadline-ms", b"1"))).status == 504
        assert front.ledger.counters.ended[Outcome.EXPIRED] == 3

    without_worker(scene)


def test_before_a_model_is_loaded_nothing_is_ready() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        assert (await ask(app, "GET", "/v2/health/live")).status == 200
        assert (await ask(app, "GET", "/v2")).status == 200
        for path in ("/v2/health/ready", "/v2/models/fake-64", "/v2/models/fake-64/ready"):
            answer = await ask(app, "GET", path)
            assert (answer.status, json.loads(answer.body).keys()) == (503, {"error"})
            assert "retry-after" in answer.headers
        assert (await infer(app, classes(1))).status == 503
        assert (await infer(app, body())).status == 400

    without_worker(scene, is_loaded=False)
