"""LiteLLM, behind which others stand, asks the service as it asks OpenAI: images, keys, and errors of its own kinds.

Slow: the package brings much, and `make test-slow` alone installs it.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.pages import ROOT, blocks
from tests.service.running import PATIENCE_SECONDS, Running, clean_environment, fake_command, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of LiteLLM's own
]

KEY = "k" * 32
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_command("--max-queue-sequences", "32"), DIT_API_KEYS=KEY) as server:
        yield server


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would fetch a list of prices when it is imported
    return pytest.importorskip("litellm")


def asked(server: Running, **fields: Any) -> dict[str, Any]:
    """The arguments of one image; those that LiteLLM does not know it sends as they are."""
    own = {"api_base": f"{server.url}/v1", "api_key": KEY, "max_retries": 0}
    return {"model": "openai/fake-64", "prompt": "class 7", **own, **fields}


def png_of(answer: Any) -> bytes:
    [image] = answer.data
    return base64.b64decode(image.b64_json)


def test_it_makes_the_image_that_generate_makes(litellm: Any, server: Running) -> None:
    fields = {"seed": 5, "steps": 3}
    answer = litellm.image_generation(**asked(server, size="64x64", extra_body=fields))
    with server.client(headers={"Authorization": f"Bearer {KEY}"}) as client:
        own = client.post("/generate", json={"class_id": 7, **fields})
    assert png_of(answer) == own.content
    assert png_of(answer).startswith(PNG_SIGNATURE)


def test_it_makes_images_in_a_loop_of_events(litellm: Any, server: Running) -> None:
    async def test() -> Any:
        return await litellm.aimage_generation(**asked(server, extra_body={"steps": 2}))

    assert png_of(asyncio.run(test())).startswith(PNG_SIGNATURE)


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"prompt": "a cat on a mat"}, "BadRequestError", "prompt"),
        ({"size": "1024x1024"}, "BadRequestError", "64x64"),
        ({"extra_body": {"steps": 0}}, "BadRequestError", "steps"),
        ({"model": "openai/no-such"}, "NotFoundError", "fake-64"),
        ({"api_key": "wrong"}, "AuthenticationError", "key"),
        ({"prompt": "class 90"}, "InternalServerError", "log has it"),
    ],
)
def test_an_error_is_of_its_own_kind_and_says_what_is_wrong(
    litellm: Any, server: Running, fields: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(openai.OpenAIError) as caught:  # all of them are its
        litellm.image_generation(**asked(server, **fields))
    assert type(caught.value).__name__ == kind
    assert words in str(caught.value)


def test_a_full_queue_is_a_rate_limit(litellm: Any, server: Running) -> None:
    with server.client(headers={"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}) as client:
        body = {"class_id": 92, "n": 16, "steps": 1000}  # all places, and slow: there until their reader leaves
        with client.stream("POST", "/generate", json=body) as stream:
            next(stream.iter_lines())
            with pytest.raises(litellm.RateLimitError):
                litellm.image_generation(**asked(server))


def test_what_the_manual_shows_works(server: Running) -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    [block] = [each for each in blocks(page) if "import litellm" in each.text]
    text = block.text.replace("http://127.0.0.1:8000", server.url).replace("digits-64", "fake-64")
    text = text.replace('"none"', f'"{KEY}"').replace('"seven"', '"class 7"')
    environment = clean_environment() | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [sys.executable, "-c", text]
    told = subprocess.check_output(command, env=environment, text=True, timeout=PATIENCE_SECONDS)
    assert int(told) > 1000
