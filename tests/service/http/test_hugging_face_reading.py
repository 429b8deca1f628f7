"""The body of Hugging Face's text-to-image task: what it comes to, and everything that is wrong with it at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import InvalidRequest, MalformedBody
from dit_serve.service.http.hugging_face_reading import (
    SCHEDULERS,
    TextToImageParameters,
    choose_for,
    read_task,
    without_other_name,
)
from dit_serve.service.http.reading import Wanted
from tests.service.http.test_reading import MODELS


def wanted(inputs: str | None = "golden retriever", models: dict[str, ModelInfo] = MODELS, **parameters: Any) -> Wanted:
    body = {"parameters": parameters} | ({} if inputs is None else {"inputs": inputs})
    return choose_for(read_task(json.dumps(body).encode()), models, by_phrase=False)


def faults(body: Any, *deadlines: str) -> dict[str, str]:
    """What is wrong with a body, by field."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        choose_for(read_task(sent, deadlines), MODELS, by_phrase=False)
    fields = [error.field for error in caught.value.errors]
    assert len(set(fields)) == len(fields)
    return {error.field: error.message for error in caught.value.errors}


def of_parameters(**parameters: Any) -> dict[str, str]:
    return faults({"inputs": "golden retriever", "parameters": parameters})


def test_inputs_are_the_class_and_parameters_those_of_generate() -> None:
    asked = wanted(num_inference_steps=20, guidance_scale=1.5, seed=5, height=64, width=64, deadline_ms=100)
    request = asked.request
    assert (asked.class_id, asked.model.name) == (2, "a")
    assert (request.steps, request.guidance_scale, request.seed, request.deadline_ms) == (20, 1.5, 5, 100)
    assert wanted(steps=20, cfg=1.5, seed=5, resolution=64, deadline_ms=100).request == request.model_copy(
        update={"width": None, "height": None}
    )


def test_a_null_is_as_if_it_were_not_there() -> None:
    nulls = dict.fromkeys(("seed", "steps", "height", "width", "scheduler", "negative_prompt", "target_size", "n"))
    assert wanted(**nulls).request == wanted().request
    body = {"inputs": "golden retriever", "parameters": None, "options": None}
    assert choose_for(read_task(json.dumps(body).encode()), MODELS, by_phrase=False).class_id == 2


def test_a_class_in_the_parameters_goes_before_inputs() -> None:
    assert wanted("a cat on a mat", class_id=1).class_id == 1
    assert wanted(None, class_id=1).class_id == 1
    assert wanted("a cat", **{"class": "Golden Retriever"}).class_id == 2
    assert of_parameters(class_id=1, **{"class": "crane"}).keys() == {"parameters.class"}


def test_inputs_that_name_no_class_are_told_what_does_and_not_repeated() -> None:
    message = faults({"inputs": "golden retreiver"})["inputs"]
    assert "golden retriever" in message
    assert "retreiver" not in message
    assert "is required" in faults({})["inputs"]
    assert "is required" in faults({"parameters": {"steps": 5}})["inputs"]


@pytest.mark.parametrize(("scheduler", "sampler"), [*SCHEDULERS.items(), ("ddim", "ddim"), ("dpm++", "dpm++")])
def test_a_scheduler_is_a_sampler_of_ours_or_a_class_of_diffusers(scheduler: str, sampler: str) -> None:
    model = {"a": MODELS["a"]} if sampler != "dpm++" else {}
    task = read_task(json.dumps({"inputs": "2", "parameters": {"scheduler": scheduler}}).encode())
    assert task.form.request.sampler == sampler
    assert not model or choose_for(task, model, by_phrase=False).request.sampler == sampler


def test_another_scheduler_is_told_those_that_there_are() -> None:
    assert of_parameters(scheduler="EulerDiscreteScheduler") == {"parameters.scheduler": "must be one of ddim, ddpm"}
    assert of_parameters(sampler="x") == {"parameters.sampler": "must be one of ddim, ddpm"}
    assert of_parameters(sampler="ddim", scheduler="ddim").keys() == {"parameters.scheduler"}


def test_the_side_chooses_the_model_and_images_are_square() -> None:
    assert wanted("7", height=128, width=128).model.name == "b"
    assert wanted("7", width=128.0).model.name == "b"
    assert wanted("7", target_size={"width": 128, "height": 128}).model.name == "b"
    assert of_parameters(height=32, width=32) == {"parameters.width": "is 32; there is 64 (a), 128 (b), 64 (c)"}
    assert of_parameters(height=32) == {"parameters.height": "is 32; there is 64 (a), 128 (b), 64 (c)"}
    assert of_parameters(height=128, width=64) == {"parameters.height": "is 128, and width is 64: images are square"}
    assert of_parameters(width=64, resolution=128).keys() == {"parameters.resolution"}
    for size in ({"side": 64}, "64x64", {"width": 64}):
        assert of_parameters(width=64, target_size=size).keys() == {"parameters.target_size"}


def test_there_is_nothing_to_steer_away_from() -> None:
    for empty in ("", [], [""]):
        assert wanted(negative_prompt=empty).class_id == 2
    for prompt in ("blurry", ["blurry"], 7, True):
        assert of_parameters(negative_prompt=prompt).keys() == {"parameters.negative_prompt"}


def test_options_of_older_clients_are_read_and_have_no_effect() -> None:
    plain = wanted(seed=1)
    for options in ({}, {"wait_for_model": True, "use_cache": False}, {"use_gpu": True}):
        body = {"inputs": "golden retriever", "parameters": {"seed": 1}, "options": options}
        assert choose_for(read_task(json.dumps(body).encode()), MODELS, by_phrase=False) == plain
    wrong = faults({"inputs": "2", "options": {"use_cache": "no", "wait": True}})
    assert wrong.keys() == {"options.use_cache", "options.(unknown)"}
    assert "wait_for_model" in wrong["options.(unknown)"]


def test_a_path_that_names_the_model_leaves_no_other_name() -> None:
    task = without_other_name(read_task(b'{"inputs": "2", "parameters": {"model": "b"}}'))
    with pytest.raises(InvalidRequest) as caught:
        choose_for(task, {"a": MODELS["a"]}, by_phrase=False)
    assert [error.field for error in caught.value.errors] == ["parameters.model"]


def test_all_faults_are_told_at_once_under_the_names_that_were_sent() -> None:
    body = {
        "inputs": 7, "more": 1, "options": {"use_cache": 1},
        "parameters": {"num_inference_steps": 0, "guidance_scale": "4", "scheduler": "x", "hieght": 64, "n": 99},
    }  # fmt: skip
    wrong = faults(body, "soon")
    assert wrong.keys() == {
        "inputs", "(unknown)", "options.use_cache", "X-Deadline-Ms", "parameters.num_inference_steps",
        "parameters.guidance_scale", "parameters.scheduler", "parameters.(unknown)", "parameters.n",
    }  # fmt: skip
    assert "did you mean height?" in wrong["parameters.(unknown)"]


def test_a_limit_of_the_model_is_told_under_the_name_that_was_sent() -> None:
    assert of_parameters(num_inference_steps=1001) == {"parameters.num_inference_steps": "is 1001; a takes 1 to 1000"}
    assert of_parameters(class_id=10).keys() == {"parameters.class_id"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"inputs": "2", "inputs": "1"}', "inputs"),
        (b'{"inputs": "2", "parameters": {"seed": 1, "seed": 2}}', "parameters.seed"),
        (b'{"inputs": "2", "options": {"use_cache": true, "use_cache": false}}', "options.use_cache"),
        (b'{"inputs": "2", "parameters": []}', "parameters"),
        (b"[]", "(body)"),
    ],
    ids=["inputs", "parameter", "option", "list", "no object"],
)  # fmt: skip
def test_what_is_given_twice_or_no_object_is_refused(body: bytes, field: str) -> None:
    assert faults(body).keys() == {field}


def test_what_is_no_json_is_told_where() -> None:
    with pytest.raises(MalformedBody, match=r'such as \{"inputs": "golden retriever"\}: .* at line 1 column 2'):
        read_task(b"{'inputs': 7}")


VALUES = st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=5)
FIELDS = ("width", "height", "target_size", "negative_prompt", "scheduler", "steps", "seed", "class_id", "n", "other")


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES | st.dictionaries(st.sampled_from(["width", "side"]), VALUES)))
def test_any_parameters_are_a_request_or_a_list_of_faults(parameters: dict[str, Any]) -> None:
    task = read_task(json.dumps({"inputs": "golden retriever", "parameters": parameters}).encode())
    assert isinstance(task.form.request, TextToImageParameters)
    try:
        asked = choose_for(task, MODELS, by_phrase=False)
    except InvalidRequest as error:
        faults = error.errors
    else:
        faults = []
        assert asked.request.resolution in (None, asked.model.resolution)
    # A width may choose a model whose classes have no names.
    assert all(fault.field.startswith("parameters.") or "have no names" in fault.message for fault in faults)
    assert bool(task.form.faults) <= bool(faults)
