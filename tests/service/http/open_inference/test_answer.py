"""The answer of an inference request: as long as it says, in pieces, and never more pixels at once than one image's."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.responses import StreamingResponse
from tritonclient.http import InferResult

from dit_serve.service.http.open_inference.answer import Pictures, answer
from dit_serve.service.http.open_inference.reading import HEADER, Asked
from dit_serve.service.image.png import encode_png
from tests.service.fake import FakeDoor

SIDE = 5  # odd, and no power of two
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
PNGS = [encode_png(pixels, {"n": "x" * index}) for index, pixels in enumerate(PIXELS)]
PICTURES = Pictures(replace(FakeDoor("a/fake-64").info, resolution=SIDE), PNGS, [5, 0, 2**63 - 1])
EVERY_WAY = [
    tuple(itertools.starmap(Asked, zip(names, forms, strict=True)))
    for length in (1, 2, 3)
    for names in itertools.permutations(("image", "png", "seed"), length)
    for forms in itertools.product((True, False), repeat=length)
]


def pieces(response: Any) -> list[bytes]:
    """What is sent, piece by piece."""
    assert isinstance(response, StreamingResponse)
    body: AsyncIterable[Any] = response.body_iterator

    async def read() -> list[bytes]:
        return [piece async for piece in body]

    return asyncio.run(read())


def as_triton_reads(outputs: Sequence[Asked], identity: str | None = None) -> InferResult:
    """The answer as Triton's client has it, once its length is what it says."""
    response = answer(PICTURES, outputs, identity, {})
    sent = b"".join(pieces(response))
    assert response.headers["content-length"] == str(len(sent))
    is_binary = any(output.is_binary for output in outputs)
    assert response.headers["content-type"] == ("application/octet-stream" if is_binary else "application/json")
    assert (HEADER in response.headers) == is_binary
    return InferResult.from_response_body(sent, header_length=response.headers.get(HEADER))


@pytest.mark.parametrize("outputs", EVERY_WAY, ids=lambda each: "-".join(f"{o.name}{'+' * o.is_binary}" for o in each))
def test_every_order_and_form_of_outputs_is_as_long_as_it_says(outputs: tuple[Asked, ...]) -> None:
    result = as_triton_reads(outputs)
    told = result.get_response()["outputs"]
    assert [output["name"] for output in told] == [output.name for output in outputs]
    for output, said in zip(outputs, told, strict=True):
        assert ("binary_data_size" in said.get("parameters", {})) == output.is_binary == ("data" not in said)
        values = result.as_numpy(output.name)
        if output.name == "image":
            assert np.array_equal(values, PIXELS)
        elif output.name == "seed":
            assert values.tolist() == [5, 0, 2**63 - 1]
        elif output.is_binary:
            assert values.tolist() == PNGS
        else:
            assert [base64.b64decode(text) for text in values] == PNGS


@pytest.mark.parametrize("identity", [None, "", "abc", 'a "quoted" ☃'])
def test_the_answer_has_the_id_of_its_request(identity: str | None) -> None:
    told = as_triton_reads([Asked("seed", True)], identity).get_response()
    assert {"model_name", "model_version"} <= told.keys()
    assert (told["model_name"], told["model_version"]) == ("a/fake-64", "1")
    assert told.get("id") == identity


def test_pixels_go_out_image_by_image() -> None:
    sizes = [len(piece) for piece in pieces(answer(PICTURES, [Asked("image", True)], None, {}))]
    assert sizes[-3:] == [SIDE * SIDE * 3] * 3
    sizes = [len(piece) for piece in pieces(answer(PICTURES, [Asked("image", False)], None, {}))]
    assert sizes[-5:-2] == [4 * SIDE * SIDE * 3] * 3


def test_numbers_in_json_are_as_wide_as_the_widest() -> None:
    text = b"".join(pieces(answer(PICTURES, [Asked("image", False)], None, {})))
    assert b'"data":[ ' in text
    assert json.loads(text)["outputs"][0]["data"] == PIXELS.ravel().tolist()
