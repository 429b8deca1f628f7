"""The body's border: any bytes give a request or a documented refusal."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.errors import InvalidRequest, MalformedBody
from dit_serve.service.http.schemas import MAX_SEED, GenerateRequest, choose_model, make_jobs, parse_generate
from dit_serve.service.wire.messages import ModelInfo

MODELS = {
    64: ModelInfo("a", 64, 10, (), 1000, ("ddim", "ddpm"), 4, "float32", "cpu", ""),
    128: ModelInfo("b", 128, 1000, (), 250, ("ddim",), 4, "float32", "cpu", ""),
}


def request(**fields: Any) -> GenerateRequest:
    return parse_generate(json.dumps({"class_id": 1, **fields}).encode())


def test_cfg_becomes_guidance_scale() -> None:
    assert request(cfg=2).guidance_scale == 2.0


def test_every_field_has_the_documented_default() -> None:
    plain = request()
    assert (plain.guidance_scale, plain.steps, plain.seed, plain.resolution, plain.sampler, plain.n) == (
        4.0, 50, None, None, None, 1,
    )  # fmt: skip


def test_the_default_model_is_the_first() -> None:
    assert choose_model(request(), MODELS).name == "a"
    assert choose_model(request(resolution=128), MODELS).name == "b"


def test_limits_are_those_of_the_chosen_model() -> None:
    assert choose_model(request(resolution=128, class_id=999, steps=250), MODELS).name == "b"
    with pytest.raises(InvalidRequest) as caught:
        choose_model(request(resolution=128, class_id=1000, steps=251, sampler="ddpm"), MODELS)
    assert [error.field for error in caught.value.errors] == ["class_id", "steps", "sampler"]


def test_there_is_one_job_per_image_with_ids_and_seeds_of_their_own() -> None:
    jobs = make_jobs(request(n=4, seed=MAX_SEED - 1), MODELS[64], "an-id", count(5).__next__)
    assert [job.id for job in jobs] == [5, 6, 7, 8]
    assert [job.seed for job in jobs] == [MAX_SEED - 1, MAX_SEED, 0, 1]
    assert {job.request_id for job in jobs} == {"an-id"}


def test_huge_numbers_are_shortened_in_errors() -> None:
    with pytest.raises(InvalidRequest) as caught:
        choose_model(request(class_id=10**1000), MODELS)
    assert len(caught.value.detail) < 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["class_id", "cfg", "steps", "seed", "resolution", "sampler", "n", "guidance_scale", ""])


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=8) | JSON_VALUES)
def test_any_json_is_a_request_or_a_refusal(value: Any) -> None:
    accept_or_refuse(json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    accept_or_refuse(body)


def accept_or_refuse(body: bytes) -> None:
    try:
        asked = parse_generate(body)
        model = choose_model(asked, MODELS)
    except (InvalidRequest, MalformedBody):
        return
    jobs = make_jobs(asked, model, "", count().__next__)
    assert 1 <= len(jobs) <= 16
    for job in jobs:
        assert 0 <= job.class_id < model.num_classes
        assert 0 <= job.seed <= MAX_SEED
        assert 1 <= job.steps <= model.max_steps
        assert 1 <= job.guidance_scale <= 20
        assert job.sampler in model.samplers
