"""Requests of clients that no test can run here, as they were recorded or as their sources write them."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
IMAGES = "/v1/images/generations"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"model": "fake-64", "prompt": "class 7", "n": 1, "size": "64x64", "response_format": "b64_json"},
                     id="Open WebUI"),
        pytest.param({"model": "fake-64", "prompt": "class 7", "n": 1, "size": "64x64", "response_format": "b64_json",
                      "cfg": 4, "steps": 5}, id="Open WebUI with parameters of its operator"),
        pytest.param({"model": "fake-64", "prompt": "class 7", "n": 1, "size": "64x64", "seed": 5,
                      "response_format": "b64_json"}, id="Vercel AI SDK"),
        pytest.param({"model": "fake-64", "prompt": "class 7", "size": "auto", "quality": "auto", "background": "auto",
                      "output_format": "png", "n": 1, "user": "someone"}, id="LibreChat"),
    ],
)
def test_openais_route_takes_what_they_send(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = client.post(IMAGES, json=body, headers={"Authorization": "Bearer none", "Accept": "*/*"})
    assert answer.status_code == 200, answer.text
    [image] = answer.json()["data"]
    assert base64.b64decode(image["b64_json"]).startswith(PNG_SIGNATURE)


def test_the_inference_route_takes_what_kserve_sends(client: httpx.Client) -> None:
    tensor = {"name": "class_id", "shape": [1], "datatype": "INT64", "data": [7]}
    body = {"id": "an-id", "model_name": "fake-64", "inputs": [tensor], "parameters": {"steps": 3}}
    answer = client.post("/v2/models/fake-64/infer", json=body)
    assert answer.status_code == 200, answer.text
    told = {each["name"]: each for each in answer.json()["outputs"]}
    assert (told["image"]["shape"], len(told["image"]["data"])) == ([1, 64, 64, 3], 64 * 64 * 3)
