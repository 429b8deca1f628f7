"""GET /v1/models and one of them: in OpenAI's form, and in ours."""

from __future__ import annotations

import time

import httpx
import pytest
from openai.types import Model

from tests.service.http.openai.conftest import SLASHED, WITH_KEY
from tests.service.http.test_app import assert_problem
from tests.service.running import Running


def test_models_are_there_in_both_forms_with_the_same_values(client: httpx.Client) -> None:
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    for theirs, ours in zip(answer["data"], answer["models"], strict=True):
        Model.model_validate(theirs)
        assert theirs["id"] == ours["name"]
        assert {name: theirs[name] for name in ours} == ours
        assert theirs.keys() - ours.keys() == {"id", "object", "created", "owned_by"}


def test_created_is_when_the_service_was_started(client: httpx.Client) -> None:
    first, second = (client.get("/v1/models").json()["data"][0]["created"] for _ in range(2))
    assert first == second
    assert time.time() - 3600 < first <= time.time()


@pytest.mark.parametrize("name", [SLASHED, SLASHED.replace("/", "%2F"), "gpt-image-1"])
def test_a_model_is_found_by_its_name_or_alias_encoded_or_not(guarded: Running, name: str) -> None:
    with guarded.client(headers=WITH_KEY) as client:
        model = client.get(f"/v1/models/{name}").json()
        assert model in client.get("/v1/models").json()["data"]
    assert (model["id"], model["name"]) == (name.replace("%2F", "/"), SLASHED)
    assert model["is_default"]


def test_an_alias_is_no_model_of_its_own(guarded: Running) -> None:
    with guarded.client(headers=WITH_KEY) as client:
        answer = client.get("/v1/models").json()
    assert [model["name"] for model in answer["models"]] == [SLASHED, "fake-128"]
    assert [model["id"] for model in answer["data"]] == [SLASHED, "fake-128", "gpt-image-1"]


@pytest.mark.parametrize("name", ["secret", "", "fake-64/", "/fake-64", "fake-64/x"])
def test_another_name_is_not_found(client: httpx.Client, name: str) -> None:
    body = assert_problem(client.get(f"/v1/models/{name}"), 404, "model-not-found")
    assert body["detail"] == "no model is called so; loaded are fake-64, fake-128"


def test_a_model_is_asked_for_with_a_key_alone(guarded: Running) -> None:
    with guarded.client() as client:
        for path in ("/v1/models", f"/v1/models/{SLASHED}"):
            assert client.get(path).status_code == 401
