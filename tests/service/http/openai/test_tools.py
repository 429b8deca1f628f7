"""What tools send that people have already, as it was recorded or as their sources write it, and what they read."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest

from dit_serve.service.image.png import read_receipt
from tests.service.http.openai.conftest import SLASHED, WITH_KEY
from tests.service.http.openai.test_images import PATH
from tests.service.running import Running


@dataclass(frozen=True, slots=True)
class Sent:
    """A request of a tool, and how many images it wants."""

    body: str
    accept: str = "*/*"
    images: int = 1


TOOLS = {
    # routers/images.py; the size is what its admin has set, 512x512 at first
    "Open WebUI": Sent(
        '{"model": "gpt-image-1", "prompt": "a kind 7, in oil", "n": 2, "size": "64x64", '
        '"response_format": "b64_json"}',
        images=2,
    ),
    # the same with the JSON of further parameters that its admin may set
    "Open WebUI with parameters": Sent(
        '{"model": "gpt-image-1", "prompt": "kind 7", "n": 1, "size": "64x64", "response_format": "b64_json", '
        '"steps": 4, "cfg": 2}'
    ),
    # its tool for images writes the name of the model, and the rest, itself
    "LibreChat": Sent(
        '{"model":"gpt-image-1","prompt":"Please draw the kind 7 for me, in great detail.","background":"auto","n":1,'
        '"output_format":"png","quality":"auto","size":"auto","user":"65f0c0ffee"}',
        accept="application/json",
    ),
    # Vercel's, which always names the form, and passes on what providerOptions has
    "AI SDK": Sent(
        '{"model":"gpt-image-1","prompt":"kind 7","n":1,"size":"64x64","response_format":"b64_json"}'
    ),
    "AI SDK with a seed": Sent(
        '{"model":"facebook/DiT-XL-2-64","prompt":"7","n":1,"seed":5,"num_inference_steps":4,"response_format":"b64_json"}'
    ),
    # openai 3.57 for Python, extra_body merged in
    "OpenAI": Sent(
        '{"model":"gpt-image-1","prompt":"7","n":2,"response_format":"b64_json","size":"64x64","steps":20,"cfg":4.0,'
        '"seed":5,"sampler":"ddim"}',
        accept="application/json",
        images=2,
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_gets_its_images(guarded: Running, tool: str) -> None:
    sent = TOOLS[tool]
    headers = {"Content-Type": "application/json", "Accept": sent.accept, **WITH_KEY}
    with guarded.client() as client:
        response = client.post(PATH, content=sent.body.encode(), headers=headers)
    assert response.status_code == 200, response.text
    images = response.json()["data"]
    assert len(images) == sent.images
    for image in images:
        receipt = read_receipt(base64.b64decode(image["b64_json"]))
        assert (receipt.class_id, receipt.model, image["revised_prompt"]) == (7, SLASHED, "class 7: class 7")
        assert receipt.steps == json.loads(sent.body).get("steps", json.loads(sent.body).get("num_inference_steps", 50))


def test_a_size_that_a_tool_was_left_with_is_refused_with_what_to_set(guarded: Running) -> None:
    body = {"model": "gpt-image-1", "prompt": "kind 7", "n": 1, "size": "512x512", "response_format": "b64_json"}
    with guarded.client(headers=WITH_KEY) as client:
        error = client.post(PATH, json=body).json()["error"]
    assert (error["param"], error["message"]) == ("size", f"size: is 512x512; there is 64x64 ({SLASHED})")
