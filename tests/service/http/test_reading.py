"""The body's border: any bytes give a request or a documented refusal."""

from __future__ import annotations

import json
import secrets
from dataclasses import fields, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.checks import MAX_SEED
from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import InvalidRequest, MalformedBody
from dit_serve.service.http.reading import Wanted, choose, make_jobs, read_form
from dit_serve.service.http.schemas import GenerateRequest, Timing
from dit_serve.service.wire.job import Timings

BIRDS = (("crane", "a bird"), ("crane", "a machine"), ("golden retriever",))
MODELS = {
    "a": ModelInfo("a", 64, 10, BIRDS, 1000, ("ddim", "ddpm"), 4, "float32", "cpu", ""),
    "b": ModelInfo("b", 128, 1000, (), 250, ("ddim",), 4, "float32", "cpu", ""),
    "c": ModelInfo("c", 64, 10, (), 1000, ("ddim",), 4, "float32", "cpu", ""),
}


def request(**fields: Any) -> GenerateRequest:
    return read_form(json.dumps({"class_id": 1, **fields}).encode()).request


def wanted(**fields: Any) -> Wanted:
    return choose(read_form(json.dumps(fields if "class" in fields else {"class_id": 1, **fields}).encode()), MODELS)


def faults(body: Any, *deadlines: str) -> dict[str, str]:
    """What is wrong with a body, by field."""
    with pytest.raises(InvalidRequest) as caught:
        choose(read_form(json.dumps(body).encode(), deadlines), MODELS)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize("name", ["cfg", "guidance_scale"])
def test_cfg_becomes_guidance_scale(name: str) -> None:
    assert request(**{name: 2}).guidance_scale == 2.0


def test_every_field_has_the_documented_default() -> None:
    plain = request()
    assert (plain.guidance_scale, plain.steps, plain.seed, plain.resolution, plain.sampler, plain.n) == (
        4.0, 50, None, None, None, 1,
    )


def test_the_model_is_the_one_of_that_name_or_the_first_of_that_resolution_or_the_first() -> None:
    assert wanted().model.name == "a"
    assert wanted(resolution=128).model.name == "b"
    assert wanted(resolution=64).model.name == "a"
    assert wanted(model="c").model.name == "c"
    assert wanted(model="c", resolution=64).model.name == "c"


def test_limits_are_those_of_the_chosen_model() -> None:
    assert wanted(resolution=128, class_id=999, steps=250).model.name == "b"
    wrong = faults({"resolution": 128, "class_id": 1000, "steps": 251, "sampler": "ddpm"})
    assert list(wrong) == ["class_id", "steps", "sampler"]


def test_a_class_is_found_by_its_name() -> None:
    assert wanted(**{"class": "Golden Retriever"}).class_id == 2


def test_a_name_of_several_classes_is_refused_with_the_candidates() -> None:
    message = faults({"class": "Crane"})["class"]
    assert message == "this names several classes: 0 (crane), 1 (crane); give one by its id"


def test_a_model_whose_classes_have_no_names_takes_ids_alone() -> None:
    assert faults({"class": "crane", "model": "b"}) == {"class": "the classes of b have no names: give class_id"}


def test_a_class_is_given_once() -> None:
    assert faults({"class": "crane", "class_id": "x"}).keys() == {"class", "class_id"}
    assert faults({"class_id": None}) == {"class_id": "class_id or class is required"}


def test_two_spellings_of_one_value_are_refused_even_if_they_agree() -> None:
    message = faults({"class_id": 1, "steps": 2, "num_inference_steps": 2})["num_inference_steps"]
    assert message == "is another spelling of steps, which is given too: give one of them"


def test_a_wrong_field_hides_no_other_and_adds_none() -> None:
    wrong = faults({"class_id": 99, "steps": "x", "sampler": "y", "cfg": None, "no": 1}, "1", "2")
    assert wrong.keys() == {"class_id", "steps", "sampler", "cfg", "(unknown)", "X-Deadline-Ms"}
    assert faults({"class_id": 99, "resolution": "64", "model": "a"}).keys() == {"resolution"}


def test_there_is_one_job_per_image_with_ids_and_seeds_of_their_own() -> None:
    jobs = make_jobs(wanted(n=4, seed=MAX_SEED - 1), "an-id", count(5).__next__)
    assert [job.id for job in jobs] == [5, 6, 7, 8]
    assert [job.spec.seed for job in jobs] == [MAX_SEED - 1, MAX_SEED, 0, 1]
    assert {(job.request_id, job.model) for job in jobs} == {("an-id", "a")}


def test_drawn_seeds_are_such_as_javascript_reads_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 1)
    assert [job.spec.seed for job in make_jobs(wanted(n=2), "", count().__next__)] == [2**53 - 1] * 2


def test_a_byte_order_mark_before_the_body_does_not_count() -> None:
    assert read_form(b'\xef\xbb\xbf{"class_id": 1, "seed": 2}').request.seed == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{'class_id': 1}", "key must be a string at line 1 column 2"),
        (b'{"class_id": ' + b"9" * 5000 + b"}", "number out of range at line 1 column 4315"),
        (b'{"class_id":' * 1000, "recursion limit exceeded at line 1 column"),
    ],
)
def test_what_is_no_json_is_told_with_the_place(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedBody, match=reason):
        read_form(body)


def test_the_stages_told_are_those_that_are_measured() -> None:
    assert tuple(Timings().stages()) == tuple(field.name for field in fields(Timing))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["class_id", "class", "cfg", "steps", "seed", "model", "resolution", "sampler", "n", "guidance_scale", ""]
)


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=8) | JSON_VALUES)
def test_any_json_is_a_request_or_a_refusal(value: Any) -> None:
    accept_or_refuse(json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    accept_or_refuse(body)


def accept_or_refuse(body: bytes) -> None:
    try:
        found = choose(read_form(body), MODELS)
    except (InvalidRequest, MalformedBody):
        return
    jobs = make_jobs(found, "", count().__next__)
    assert 1 <= len(jobs) <= 16
    for job in jobs:
        assert 0 <= job.spec.class_id < found.model.num_classes
        assert 0 <= job.spec.seed <= MAX_SEED
        assert 1 <= job.spec.steps <= found.model.max_steps
        assert 1 <= job.spec.guidance_scale <= 20
        assert job.spec.sampler in found.model.samplers


def test_a_model_without_guidance_takes_cfg_1_alone_and_has_it_by_default() -> None:
    models = {"a": replace(MODELS["a"], can_guide=False)}

    def chosen(**fields: Any) -> Wanted:
        return choose(read_form(json.dumps({"class_id": 1, **fields}).encode()), models)

    assert chosen().request.guidance_scale == chosen(cfg=1).request.guidance_scale == 1.0
    assert make_jobs(chosen(), "r", count().__next__)[0].spec.guidance_scale == 1.0
    with pytest.raises(InvalidRequest) as caught:
        chosen(guidance_scale=2)
    [fault] = caught.value.errors
    assert (fault.field, fault.message) == (
        "cfg", "is 2; a takes 1 alone, because its label table has no null class to guide by",
    )
