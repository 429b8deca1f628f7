"""The tensors of a request as they are sent: in both forms the same, and never more than is there."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_serve.service.errors import InvalidRequest, MalformedBody
from dit_serve.service.http.open_inference.schemas import INPUTS
from tests.service.http.open_inference.test_reading import MAX_SEED, binary, body, faults, triton, wanted


@pytest.mark.parametrize(
    ("size", "rest", "field"),
    [
        (8, b"", "inputs[0].parameters.binary_data_size"),
        (8, bytes(7), "inputs[0].parameters.binary_data_size"),
        (8, bytes(9), "(body)"),
        (7, bytes(7), "class_id"),
        (0, b"", "class_id"),
        (16, bytes(16), "class_id"),
        (-8, bytes(8), "inputs[0].parameters.binary_data_size"),
        (2**64, bytes(8), "inputs[0].parameters.binary_data_size"),
        (10**400, bytes(8), "inputs[0].parameters.binary_data_size"),
        (True, bytes(8), "inputs[0].parameters.binary_data_size"),
        (None, bytes(8), "inputs[0]"),
        ("8", bytes(8), "inputs[0].parameters.binary_data_size"),
        (7.5, bytes(8), "inputs[0].parameters.binary_data_size"),
    ],
    ids=range(13),
)
def test_sizes_that_lie_are_refused(size: Any, rest: bytes, field: str) -> None:
    text = body(binary(size))
    assert field in faults(text + rest, str(len(text)))


def test_elements_that_stand_in_both_places_are_refused() -> None:
    text = body(binary(8, data=[1]))
    assert faults(text + bytes(8), str(len(text))).keys() == {"inputs[0]"}


def test_a_place_lost_in_the_bytes_is_told_once() -> None:
    text = body(binary("8"), {**binary(8), "name": "seed"})
    assert faults(text + bytes(16), str(len(text))).keys() == {"inputs[0].parameters.binary_data_size"}


Scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
Values = Scalars | st.lists(Scalars, max_size=3) | st.dictionaries(st.text(max_size=3), Scalars, max_size=2)
Inputs = st.fixed_dictionaries(
    {"name": st.sampled_from([*INPUTS, "x"]), "shape": st.just([1]) | Values,
     "datatype": st.sampled_from(["INT64", "INT32", "FP32", "BYTES"]) | Values},
    optional={"data": Values, "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20) | Scalars})},
)  # fmt: skip
Requests = st.fixed_dictionaries(
    {"inputs": st.lists(Inputs | Values, max_size=4) | Values},
    optional={"parameters": st.dictionaries(st.sampled_from(["seed", "cfg", "timeout"]), Scalars) | Values,
              "outputs": st.lists(Values, max_size=3), "id": Scalars, "model_name": Scalars},
)  # fmt: skip


@settings(max_examples=200)
@given(Requests | Values, st.binary(max_size=20), st.integers(-1, 200) | st.none())
def test_any_request_is_read_or_bad(request: Any, rest: bytes, cut: int | None) -> None:
    text = json.dumps(request).encode()
    length = len(text) if cut is None else cut
    with contextlib.suppress(InvalidRequest, MalformedBody):
        found = wanted(text + rest, str(length))
        assert 1 <= len(found) <= 64


@given(st.binary(max_size=100), st.sampled_from([(), ("10",), ("0",), ("100",)]))
def test_any_bytes_are_read_or_bad(sent: bytes, lengths: tuple[str, ...]) -> None:
    with pytest.raises((InvalidRequest, MalformedBody)):
        wanted(sent, *lengths)


@given(st.data())
def test_what_triton_sends_comes_out_the_same_however_it_is_cut(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    drawn = {"class_id": st.integers(0, 9), "seed": st.integers(0, MAX_SEED), "steps": st.integers(1, 1000),
             "cfg": st.floats(1, 20, width=32)}  # fmt: skip
    columns = {name: data.draw(st.lists(each, min_size=n, max_size=n)) for name, each in drawn.items()}
    forms = []
    for is_binary in (True, False):
        request, lengths = triton(columns, is_binary=is_binary)
        forms.append([(each.class_id, each.request) for each in wanted(request, *lengths)])
    assert forms[0] == forms[1]
    assert [each.seed for _, each in forms[0]] == columns["seed"]
    assert [struct.pack("<f", each.guidance_scale) for _, each in forms[0]] == [
        struct.pack("<f", scale) for scale in columns["cfg"]
    ]
