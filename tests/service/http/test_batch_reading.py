"""The border of a batch's body: its requests are read as those of /generate, and every fault says where it stands."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_serve.service.errors import FieldError, InvalidRequest, MalformedBody
from dit_serve.service.http.batch_reading import choose_all, read_batch
from dit_serve.service.http.batch_schemas import MAX_REQUESTS
from dit_serve.service.http.reading import Wanted, choose, read_form
from tests.service.http.hostile import damaged, hostile_body
from tests.service.http.test_hostile import TIMES, Fields, Json
from tests.service.http.test_reading import MODELS

ONE = {"class_id": 1}


def batch(*requests: Any, **more: Any) -> bytes:
    return json.dumps({"requests": requests, **more}).encode()


def wanted(body: bytes) -> list[Wanted]:
    return choose_all(read_batch(body), MODELS, lambda form: form)


def faults(body: bytes, *deadlines: str) -> dict[str, str]:
    """What is wrong with a batch, by field; each is told once."""
    with pytest.raises(InvalidRequest) as caught:
        choose_all(read_batch(body, deadlines), MODELS, lambda form: form)
    told = {error.field: error.message for error in caught.value.errors}
    assert len(told) == len(caught.value.errors)
    return told


def test_every_request_is_for_a_model_of_its_own() -> None:
    found = wanted(batch(ONE, {"class_id": 999, "resolution": 128}, {"class": "golden retriever", "cfg": 1, "n": 3}))
    assert [(each.model.name, each.class_id, each.request.n) for each in found] == [
        ("a", 1, 1), ("b", 999, 1), ("a", 2, 3),
    ]  # fmt: skip


def test_all_faults_of_all_requests_are_told_at_once_with_their_places() -> None:
    body = batch(ONE, {"class_id": 10, "steps": 0}, 7, {"class_id": 1, "stepz": 5}, None, [ONE], deadline_ms=True)
    told = faults(body, "soon")
    assert told.keys() == {
        "deadline_ms", "X-Deadline-Ms", "requests[1].class_id", "requests[1].steps", "requests[2]",
        "requests[3].(unknown)", "requests[4]", "requests[5]",
    }  # fmt: skip
    assert told["requests[1].class_id"] == "is 10; a has classes 0 to 9"
    assert told["requests[2]"] == "must be a JSON object"
    assert "did you mean steps?" in told["requests[3].(unknown)"]


@given(st.lists(Fields.map(lambda fields: {**fields, "deadline_ms": None}), min_size=1, max_size=3))
@settings(max_examples=300 * TIMES)
def test_a_request_in_a_batch_is_judged_as_it_is_alone(requests: list[dict[str, Any]]) -> None:
    for fields in requests:
        del fields["deadline_ms"]  # which is the batch's
    alone: list[FieldError] = []
    for index, fields in enumerate(requests):
        try:
            choose(read_form(json.dumps(fields).encode()), MODELS)
        except InvalidRequest as error:
            alone += [FieldError(f"requests[{index}].{each.field}", each.message) for each in error.errors]
        except MalformedBody:
            return
    if not alone:
        assert len(wanted(batch(*requests))) == len(requests)
        return
    with pytest.raises(InvalidRequest) as caught:
        wanted(batch(*requests))
    assert caught.value.errors == alone


@pytest.mark.parametrize("count", [1, MAX_REQUESTS])
def test_1_to_64_requests_are_taken(count: int) -> None:
    assert len(wanted(batch(*[ONE] * count))) == count


@pytest.mark.parametrize("count", [0, MAX_REQUESTS + 1])
def test_none_and_65_are_not(count: int) -> None:
    assert faults(batch(*[ONE] * count)) == {"requests": f"must hold 1 to 64 requests, not {count}"}


@pytest.mark.parametrize("value", [3, "x", {}, True])
def test_requests_are_a_list(value: Any) -> None:
    assert "must be a list" in faults(json.dumps({"requests": value}).encode())["requests"]


@pytest.mark.parametrize("body", [b"{}", b'{"requests": null}', b'{"class_id": 7}'])
def test_without_requests_the_form_of_a_batch_is_told(body: bytes) -> None:
    told = faults(body)
    assert told["requests"] == 'is required, as in {"requests": [{"class_id": 7}]}'
    if b"class_id" in body:
        assert told["(unknown)"].endswith("allowed are requests, deadline_ms")


def test_the_deadline_is_the_batchs() -> None:
    assert read_batch(batch(ONE, deadline_ms=7.0)).deadline_ms == 7
    assert read_batch(batch(ONE), ["1500"]).deadline_ms == 1500
    assert "differs" in faults(batch(ONE, deadline_ms=7), "8")["X-Deadline-Ms"]
    for value in (5, "soon", None):
        told = faults(batch(ONE, {"class_id": 1, "deadline_ms": value}))
        assert told == {"requests[1].deadline_ms": "holds for the whole batch: give it beside requests"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"requests": [{"class_id": 1}], "requests": [{"class_id": 1}]}', ["requests"]),
        (b'{"deadline_ms": 5, "requests": [{"class_id": 1}], "deadline_ms": 5}', ["deadline_ms"]),
        (b'{"requests": [{"class_id": 1}, {"seed": 1, "class_id": 1, "seed": 1}]}', ["requests[1].seed"]),
        (b'{"requests": [{"class_id": 1, "sampler": {"seed": 1, "seed": 2}}]}', ["requests[0].sampler"]),
        (b'{"requests": [{"class_id": 1, "cfg": NaN, "cfg": 2}]}', ["requests[0].cfg"]),
        (b'{"requests": [{"class_id": 1, "deadline_ms": 2, "deadline_ms": 2}]}', ["requests[0].deadline_ms"]),
    ],
)
def test_a_field_that_is_there_twice_is_refused_wherever_it_stands(body: bytes, fields: list[str]) -> None:
    assert list(faults(body)) == fields


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"requests"'])
def test_json_that_is_no_object_is_told_as_such(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"\(body\): must be a JSON object"):
        read_batch(body)


@pytest.mark.parametrize(
    "body",
    [b"", b'{"requests": [{"class_id": 01}]}', b'{"requests": [' + b"[" * 900, b'{"requests": [{"class": "\xff"}]}'],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="must be one JSON object in UTF-8, such as"):
        read_batch(body)


def test_a_byte_order_mark_does_not_count() -> None:
    assert len(wanted(b"\xef\xbb\xbf" + batch(ONE))) == 1


@settings(max_examples=300 * TIMES)
@given(st.binary(max_size=300) | Json.map(lambda value: json.dumps({"requests": value}).encode()), st.randoms())
def test_any_body_is_a_batch_or_a_problem(body: bytes, source: Any) -> None:
    hostile = b'{"requests": [%s]}' % b", ".join(hostile_body(source) for _ in range(3))
    for each in (body, hostile, damaged(body, source), damaged(hostile, source)):
        with contextlib.suppress(InvalidRequest, MalformedBody):
            assert wanted(each)


def test_no_batch_of_unknown_names_keeps_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr("difflib.get_close_matches", lambda word, *_, **__: compared.append(word) or [])
    body = batch(*({f"name_{k}": 1 for k in range(20)} for _ in range(MAX_REQUESTS)))
    assert len(faults(body)) == 2 * MAX_REQUESTS  # other names, and no class
    assert len(compared) <= MAX_REQUESTS
