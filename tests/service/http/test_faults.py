"""What a client is told of its fields: in JSON's words, with its numbers, and with no text of its own."""

from __future__ import annotations

from typing import Any

import pytest

from dit_serve.service.http.faults import read_members, repeated_fields
from dit_serve.service.http.reading import read_form
from tests.service.http.test_reading import faults, wanted

INTEGERS = ("class_id", "steps", "seed", "n", "resolution", "deadline_ms", "preview_every")


def told(body: bytes) -> dict[str, str]:
    """What is wrong with a body by itself."""
    return {fault.field: fault.message for fault in read_form(body).faults}


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("number", ["7.0", "7e0", "70E-1", "7"])
def test_json_has_one_kind_of_number(name: str, number: str) -> None:
    others = "" if name == "class_id" else '"class_id": 1.0, '
    form = read_form(f'{{{others}"{name}": {number}}}'.encode())
    assert form.faults == ()
    assert getattr(form.request, name) == 7
    assert type(getattr(form.request, name)) is int


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("7.5", "is 7.5; must be a whole number"),
        ("true", "must be a whole number, not true or false"),
        ('"7"', "must be a whole number, not a text in quotes"),
        ("[7]", "must be a whole number, not a list"),
        ("{}", "must be a whole number, not an object"),
        ("1e400", "is beyond 1.8e308; must be a whole number"),
        ("-1e400", "is below -1.8e308; must be a whole number"),
        ("NaN", "is not a number; must be a whole number"),
    ],
)
def test_what_is_no_integer_is_told_with_what_it_is(name: str, sent: str, message: str) -> None:
    assert told(b'{"%s": %s}' % (name.encode(), sent.encode()))[name] == message


def test_zero_may_have_a_sign() -> None:
    assert wanted(class_id=-0.0).class_id == 0
    assert told(b'{"class_id": 1, "cfg": -0.0}') == {"cfg": "is -0.0; must be greater than or equal to 1"}


def test_a_seed_that_is_not_exact_as_it_is_written_is_refused() -> None:
    assert told(b'{"class_id": 1, "seed": 9007199254740991.0}') == {}
    message = told(b'{"class_id": 1, "seed": 9007199254740993.0}')["seed"]
    assert "must be written without point and exponent" in message
    assert read_form(b'{"class_id": 1, "seed": 9007199254740993}').request.seed == 9007199254740993


@pytest.mark.parametrize("field", ["class_id", "steps", "seed", "cfg", "n"])
def test_thousands_of_digits_are_shortened(field: str) -> None:
    message = faults({"class_id": 1, field: int("9" * 4000)})[field]
    assert message.startswith("is 99999999999999999999… (4000 digits); ")
    assert len(message) < 120


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("class_idx", "class_id"),
        ("classId", "class_id"),
        ("CLASS", "class"),
        ("guidanceScale", "guidance_scale"),
        ("num_steps", "steps"),
        ("seeds", "seed"),
        ("previewEvery", "preview_every"),
    ],
)
def test_a_near_name_is_told_for_a_wrong_one_which_is_not(sent: str, meant: str) -> None:
    message = faults({"class_id": 1, sent: 2})["(unknown)"]
    assert message.startswith(f"there is a field of another name; did you mean {meant}? allowed are class_id, ")
    assert f" {sent}" not in message


def test_fields_of_many_other_names_are_one_fault_of_bounded_length() -> None:
    message = faults({"class_id": 1, **{f"steps_{k}": 1 for k in range(900)}, "x" * 5000: 1})["(unknown)"]
    assert message.startswith("there are 901 fields of other names; did you mean steps? allowed are")
    assert len(message) < 300


def test_a_name_that_is_like_none_gets_the_list_alone() -> None:
    assert faults({"class_id": 1, "prompt": 2})["(unknown)"].startswith("there is a field of another name; allowed are")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"class_id": 1, "class_id": 2}', ["class_id"]),
        (b'{"class_id": 1, "seed": 1, "steps": 2, "seed": 1, "steps": 3, "seed": 1}', ["seed", "steps"]),
        (b'{"class_id": 1, "\\u0073eed": 1, "seed": 1}', ["seed"]),
        (b'{"class_id": 1, "model": "a:b:c", "sampler": {"seed": 1, "seed": 2}}', []),
        (b'{"class_id": 1, "foreign": 1, "foreign": 2}', []),
        (b'{"class_id": NaN}', []),
    ],
)
def test_a_field_that_is_there_twice_is_refused(body: bytes, fields: list[str]) -> None:
    assert [fault.field for fault in repeated_fields(read_members(body))] == fields
    assert {name for name, message in told(body).items() if message == "is given more than once"} == set(fields)


def test_every_fault_is_told_once_with_those_of_the_model_and_of_the_header() -> None:
    body: dict[str, Any] = {"class_id": 5000, "steps": 10**6, "sampler": "euler", "cfg": 0, "n": 0.5, "class_idx": 1}
    wrong = faults(body, "soon")
    assert wrong.keys() == {"class_id", "steps", "sampler", "cfg", "n", "(unknown)", "X-Deadline-Ms"}
    assert faults({**body, "model": "none-such"}, "soon").keys() == {*wrong, "model"}
    assert faults({**body, "model": 7, "resolution": 5}, "soon").keys() == {*wrong, "model"}


def test_what_one_of_the_models_could_do_is_no_fault_while_none_is_found() -> None:
    assert faults({"class_id": 999, "steps": 1000, "model": "none-such"}).keys() == {"model"}
