"""Several checkpoints in one server, two of them of one resolution, told apart by the names that the operator gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from dit_serve.service.image.png import read_receipt
from tests.service.front.test_front import post
from tests.service.http.test_app import assert_problem
from tests.service.http.test_server import fail_to_start
from tests.service.running import Running, fake_command, running

CHECKPOINTS = ("a=fake-64", "b=fake-64", "one,two-128")  # the comma of an argument is part of it


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    command = [sys.executable, "-m", "tests.service.serve_fake", "--port", "0", "--metrics-port", "0", *CHECKPOINTS]
    with running(command) as server:
        yield server


def model_of(server: Running, request: dict[str, Any]) -> str:
    """The model that made the image, by its receipt."""
    response = post(server, {"class_id": 7, "steps": 2, "seed": 1} | request)
    assert response.status_code == 200, response.text
    return read_receipt(response.content).model


@pytest.mark.parametrize("name", ["a", "b", "one,two-128"])
def test_the_model_that_a_request_names_makes_the_image(server: Running, name: str) -> None:
    assert model_of(server, {"model": name}) == name


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({}, "a"),
        ({"resolution": 64}, "a"),
        ({"resolution": 128}, "one,two-128"),
        ({"model": "b", "resolution": 64}, "b"),
    ],
)
def test_the_first_loaded_of_a_resolution_is_taken(server: Running, request_: dict[str, Any], name: str) -> None:
    assert model_of(server, request_) == name


@pytest.mark.parametrize(
    ("request_", "field", "detail"),
    [
        ({"model": "c"}, "model", "none is called so; loaded are a, b, one,two-128"),
        ({"model": "fake-64"}, "model", "none is called so; loaded are a, b, one,two-128"),
        ({"model": "b", "resolution": 128}, "resolution", "is 128; there is 64 (b)"),
        ({"resolution": 256}, "resolution", "is 256; there is 64 (a), 64 (b), 128 (one,two-128)"),
    ],
)
def test_a_model_that_is_not_there_is_422_with_those_that_are(
    server: Running, request_: dict[str, Any], field: str, detail: str
) -> None:
    problem = assert_problem(post(server, {"class_id": 7} | request_), 422, "invalid-request")
    assert problem["errors"] == [{"field": field, "message": detail}]


def test_the_catalogue_lists_all_the_first_as_default(server: Running) -> None:
    with server.client() as client:
        models = client.get("/v1/models").json()["models"]
        classes = client.get("/v1/classes", params={"model": "b", "q": "7"}).json()
    assert [(model["name"], model["resolution"], model["is_default"]) for model in models] == [
        ("a", 64, True),
        ("b", 64, False),
        ("one,two-128", 128, False),
    ]
    assert (classes["model"], classes["classes"][0]["class_id"]) == ("b", 7)


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ("a=fake-64,a=fake-128", "models has two that are called a: give one another name, NAME=CHECKPOINT"),
        ("fake-64,fake-64", "models has two that are called fake-64: give"),
        ("fake-64=fake-128,fake-64", "models has two that are called fake-64: give"),
        ("fake-64,fake-64:", "two models are called fake-64; give one another name: fake-64-2=fake-64:"),
    ],
)
def test_two_models_of_one_name_stop_the_start_with_a_sentence(models: str, sentence: str) -> None:
    assert f"dit serve: {sentence}" in fail_to_start(fake_command(models=models))
