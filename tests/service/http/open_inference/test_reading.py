"""The border of an inference request: what is chosen of what is sent, and what is wrong by its place."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http._utils import _get_inference_request

from dit_serve.service.errors import InvalidRequest, MalformedBody
from dit_serve.service.http.open_inference.reading import Asked, choose_all, read_infer
from dit_serve.service.http.open_inference.schemas import EXAMPLE, INPUTS
from dit_serve.service.http.reading import Wanted
from tests.service.http.test_reading import MODELS

CLASS_ID = {"name": "class_id", "shape": [1], "datatype": "INT64", "data": [7]}
TYPES = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32, "BYTES": object}
MAX_SEED = 2**63 - 1


def tensor(name: str, *data: Any, **more: Any) -> dict[str, Any]:
    """An input in JSON."""
    return {"name": name, "shape": [len(data)], "datatype": INPUTS[name].value, "data": [*data], **more}


def binary(size: Any, **more: Any) -> dict[str, Any]:
    """An input whose elements follow the JSON."""
    return {"name": "class_id", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": size}, **more}


def body(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": [*inputs], **more}).encode()


def triton(values: dict[str, list[Any]], *, is_binary: bool, **parameters: Any) -> tuple[bytes, list[str]]:
    """What Triton's client sends, and its header."""
    inputs = []
    for name, column in values.items():
        datatype = INPUTS[name].value
        array = np.array([each.encode() if isinstance(each, str) else each for each in column], TYPES[datatype])
        inputs.append(InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=is_binary)
    request, size = _get_inference_request(inputs, "", None, 0, False, False, 0, None, parameters)
    return request, [] if size is None else [str(size)]


def wanted(sent: bytes, *lengths: str) -> list[Wanted]:
    return choose_all(read_infer(sent, lengths), "a", MODELS["a"], by_phrase=False)


def faults(sent: bytes, *lengths: str, deadlines: tuple[str, ...] = ()) -> dict[str, str]:
    """What is wrong with a request, by field; each is told once."""
    with pytest.raises(InvalidRequest) as caught:
        choose_all(read_infer(sent, lengths, deadlines), "a", MODELS["a"], by_phrase=False)
    told = {error.field: error.message for error in caught.value.errors}
    assert len(told) == len(caught.value.errors)
    return told


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
def test_each_element_is_an_image_with_values_of_its_own(is_binary: bool) -> None:
    columns = {
        "class_id": [1, 9], "seed": [5, MAX_SEED], "cfg": [1.1, 4], "steps": [20, 3], "sampler": ["ddpm", "ddim"],
    }  # fmt: skip
    request, lengths = triton(columns, is_binary=is_binary)
    found = [(each.class_id, each.request.seed, each.request.guidance_scale, each.request.steps, each.request.sampler)
             for each in wanted(request, *lengths)]  # fmt: skip
    assert found == [(1, 5, 1.1, 20, "ddpm"), (9, MAX_SEED, 4.0, 3, "ddim")]


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
def test_a_label_is_read_as_a_prompt(is_binary: bool) -> None:
    request, lengths = triton({"label": ["golden retriever", "class 3", "4"]}, is_binary=is_binary)
    assert [each.class_id for each in wanted(request, *lengths)] == [2, 3, 4]


def test_a_label_in_a_phrase_is_read_where_the_operator_allows_it() -> None:
    form = read_infer(body(tensor("label", "a photo of a golden retriever")))
    assert [each.class_id for each in choose_all(form, "a", MODELS["a"], by_phrase=True)] == [2]
    with pytest.raises(InvalidRequest, match=r"label\[0\]: no class is called this"):
        choose_all(form, "a", MODELS["a"], by_phrase=False)


@pytest.mark.parametrize("scale", ["cfg", "guidance_scale"])
@pytest.mark.parametrize("steps", ["steps", "num_inference_steps"])
def test_parameters_hold_for_all_images_and_seeds_count_up(scale: str, steps: str) -> None:
    parameters = {scale: 2.5, steps: 20, "seed": MAX_SEED, "sampler": "ddpm"}
    found = wanted(body(tensor("class_id", 1, 2, 3), parameters=parameters))
    assert [each.request.seed for each in found] == [MAX_SEED, 0, 1]
    assert {(each.request.guidance_scale, each.request.steps, each.request.sampler) for each in found} == {
        (2.5, 20, "ddpm")
    }


def test_a_scale_among_the_parameters_is_as_it_is_written() -> None:
    (image,) = wanted(body(CLASS_ID, parameters={"cfg": 1.123456789}))
    assert image.request.guidance_scale == 1.123456789


def test_what_is_not_given_is_as_in_generate() -> None:
    (image,) = wanted(body(CLASS_ID))
    assert (image.request.seed, image.request.steps, image.request.guidance_scale) == (None, 50, 4.0)
    assert image.model is MODELS["a"]


def test_outputs_are_image_and_seed_if_none_is_named() -> None:
    assert read_infer(body(CLASS_ID)).outputs == (Asked("image", False), Asked("seed", False))
    form = read_infer(body(CLASS_ID, outputs=[], parameters={"binary_data_output": True}))
    assert form.outputs == (Asked("image", True), Asked("seed", True))


def test_an_output_says_for_itself_whether_it_is_binary() -> None:
    outputs = [{"name": "png", "parameters": {"binary_data": False}}, {"name": "seed"},
               InferRequestedOutput("image", binary_data=True)._get_tensor()]  # fmt: skip
    form = read_infer(body(CLASS_ID, outputs=outputs, parameters={"binary_data_output": True}))
    assert form.outputs == (Asked("png", False), Asked("seed", True), Asked("image", True))
    form = read_infer(body(CLASS_ID, outputs=outputs))
    assert form.outputs == (Asked("png", False), Asked("seed", False), Asked("image", True))


@pytest.mark.parametrize(("timeout", "milliseconds"), [(1, 1), (1000, 1), (1001, 2), (2_500_000, 2500), (0, None)])
def test_a_timeout_is_a_deadline_in_microseconds(timeout: int, milliseconds: int | None) -> None:
    assert read_infer(body(CLASS_ID, parameters={"timeout": timeout})).deadline_ms == milliseconds


def test_a_deadline_may_come_as_our_header() -> None:
    assert read_infer(body(CLASS_ID), (), ("250",)).deadline_ms == 250
    told = faults(body(CLASS_ID, parameters={"timeout": 1000}), deadlines=("250",))
    assert told == {"X-Deadline-Ms": "differs from another deadline of the same request"}


@pytest.mark.parametrize(
    "more",
    [{"id": "abc"}, {"model_name": "a"}, {"parameters": None}, {"outputs": None}, {"parameters": {"priority": 3}}],
    ids=["id", "model_name", "no parameters", "no outputs", "priority"],
)
def test_what_clients_send_besides_is_taken(more: dict[str, Any]) -> None:
    assert len(wanted(body(CLASS_ID, **more))) == 1


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b'{"inputs": 7}', {"inputs": "is 7; must be a list"}),
        (b"{}", {"inputs": "is required: class_id or label, one element an image"}),
        (b"[]", {"(body)": "must be a JSON object"}),
        (body(), {"inputs": "must hold 1 to 6 tensors, not 0"}),
        (body(*[CLASS_ID] * 7), {"inputs": "must hold 1 to 6 tensors, not 7"}),
        (body(7), {"inputs[0]": "must be a JSON object"}),
        (body(CLASS_ID, CLASS_ID), {"inputs[1].name": "is among the inputs already"}),
        (body(tensor("seed", 7)), {"inputs": "class_id or label is required, one element an image"}),
        (body(CLASS_ID, tensor("label", "4")), {"inputs[1]": "class_id and label are both given: give one"}),
        (body({**CLASS_ID, "name": "x"}),
         {"inputs[0].name": "must be one of class_id, label, seed, cfg, steps, sampler"}),
        (body({**CLASS_ID, "datatype": "INT32"}), {"inputs[0].datatype": "must be INT64 for class_id"}),
        (body({**CLASS_ID, "shape": [10**9]}),
         {"inputs[0].shape": "must be [N] or [N, 1], with N from 1 to 64: one element an image"}),
        (body({**CLASS_ID, "shape": [2]}), {"class_id": "data has 1 elements, and its shape says 2"}),
        (body({**CLASS_ID, "data": None}),
         {"inputs[0]": "its elements must stand in data, or after the JSON with binary_data_size in its parameters"}),
        (body(tensor("class_id", 1, 2), tensor("seed", 1)),
         {"inputs[1]": "has 1 elements, and class_id has 2: one an image"}),
        (body(tensor("class_id", 1, 500, 3, -1)),
         {"class_id[1]": "is 500; a has classes 0 to 9", "class_id[3]": "is -1; must be greater than or equal to 0"}),
        (body(CLASS_ID, parameters={"cfg": 0, "steps": 5000}),
         {"parameters.cfg": "is 0; must be greater than or equal to 1",
          "parameters.steps": "is 5000; a takes 1 to 1000"}),
        (body(tensor("class_id", 1, 2), parameters={"num_inference_steps": "x", "seed": -1}),
         {"parameters.num_inference_steps": "must be a whole number, not a text in quotes",
          "parameters.seed": "is -1; must be greater than or equal to 0"}),
        (body(CLASS_ID, tensor("seed", 5), parameters={"seed": 5}),
         {"parameters.seed": "is among the inputs too: give it once"}),
        (body(CLASS_ID, parameters={"cfg": 4, "guidance_scale": 4}),
         {"parameters.guidance_scale": "is another spelling of cfg, which is given too: give one of them"}),
        (body(CLASS_ID, parameters={"sequence_id": 1, "sequence_end": True}),
         {"parameters.sequence_id": "there are no sequences: each request is by itself; leave it out",
          "parameters.sequence_end": "there are no sequences: each request is by itself; leave it out"}),
        (body(CLASS_ID, parameters={"timeout": -1}),
         {"parameters.timeout": "is -1; must be greater than or equal to 0"}),
        (body(CLASS_ID, model_name="b"), {"model_name": "is not the one in the path: leave it out"}),
        (body(CLASS_ID, outputs=[{"name": "x"}, {"name": "png"}, {"name": "png"}]),
         {"outputs[0].name": "must be one of image, png, seed", "outputs[2].name": "is asked for more than once"}),
        (body(CLASS_ID, outputs=[{"name": "png", "parameters": {"binary_data": 1}}]),
         {"outputs[0].parameters.binary_data": "is 1; must be a valid boolean"}),
        (body(tensor("class_id", 1), tensor("cfg", float("nan"))),
         {"cfg[0]": "is not a number; must be a finite number"}),
        (body(tensor("label", "no such thing")), {"label[0]": "no class is called this"}),
    ],
    ids=range(27),
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_place(sent: bytes, told: dict[str, str]) -> None:
    assert faults(sent) == told


def test_all_faults_are_told_at_once() -> None:
    sent = body(
        {**tensor("seed", -1), "shape": [0]}, tensor("class_id", 1, 77), tensor("steps", 0, 0),
        parameters={"cfg": 99, "timeout": "soon", "stepz": 1}, outputs=[{"name": "x"}], idd=1,
    )  # fmt: skip
    told = faults(sent, deadlines=("x",))
    assert told.keys() == {
        "inputs[0].shape", "class_id[1]", "steps[0]", "steps[1]", "parameters.cfg", "parameters.timeout",
        "parameters.(unknown)", "outputs[0].name", "(unknown)", "X-Deadline-Ms",
    }  # fmt: skip
    assert "did you mean steps?" in told["parameters.(unknown)"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (EXAMPLE[:-1].encode() + b', "id": "a", "id": "b"}', "id"),
        (b'{"inputs": [{"name": "seed", "name": "class_id", "shape": [1], "datatype": "INT64", "data": [1]}]}',
         "inputs[0].name"),
        (EXAMPLE[:-1].encode() + b', "parameters": {"seed": 1, "seed": 2}}', "parameters.seed"),
        (EXAMPLE[:-1].encode() + b', "outputs": [{"name": "png", "parameters": {}, "parameters": {}}]}',
         "outputs[0].parameters"),
    ],
    ids=["top", "input", "parameters", "output"],
)  # fmt: skip
def test_what_is_there_twice_is_refused(sent: bytes, field: str) -> None:
    assert faults(sent) == {field: "is given more than once"}


@pytest.mark.parametrize(
    "lengths",
    [("-1",), ("x",), ("",), ("9999",), ("1e1",), (str(2**64),), ("9" * 5000,), ("10", "10"), ("10, 10",), ("٣",)],
    ids=range(10),
)
def test_a_header_that_is_no_length_of_the_body_is_refused(lengths: tuple[str, ...]) -> None:
    told = faults(body(CLASS_ID), *lengths)
    assert told.keys() == {"Inference-Header-Content-Length"}
    assert "must be one whole number" in told["Inference-Header-Content-Length"]


@pytest.mark.parametrize(
    ("sent", "lengths"),
    [(body(binary(8)) + bytes(8), ()), (body(CLASS_ID), ("0",)), (body(CLASS_ID), ("10",)), (b"", ()),
     (b"[" * 500 + b"]" * 500, ()), (b'{"inputs":' * 500, ()), (b"\xff", ())],
    ids=["no header", "nothing", "cut", "empty", "deep list", "deep object", "no text"],
)  # fmt: skip
def test_what_does_not_begin_with_json_is_malformed(sent: bytes, lengths: tuple[str, ...]) -> None:
    with pytest.raises(MalformedBody, match="one JSON object in UTF-8, such as"):
        read_infer(sent, lengths)
