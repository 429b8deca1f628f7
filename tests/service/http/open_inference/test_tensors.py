"""The values of tensors, against numpy and Triton's own client: both forms, and every way in which bytes can lie."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from dit_serve.service.errors import InvalidRequest
from dit_serve.service.http.open_inference.tensors import (
    Datatype,
    elements,
    from_binary,
    from_json,
    int64_bytes,
    length_prefix,
    shortest,
    uint8_json,
    uint8_json_size,
)

NUMBERS = {Datatype.INT64: np.int64, Datatype.INT32: np.int32}
Floats = st.floats(width=32)
Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=2),
    max_leaves=5,
)


def faults(datatype: Datatype, count: int, data: object) -> dict[str, str]:
    """What is wrong with a tensor that is called t."""
    read: Any = from_binary if isinstance(data, bytes) else from_json
    with pytest.raises(InvalidRequest) as caught:
        read("t", datatype, count, data)
    return {error.field: error.message for error in caught.value.errors}


def column(values: Sequence[object]) -> list[list[object]]:
    return [[value] for value in values]


@given(st.sampled_from([*NUMBERS]), st.data())
def test_integers_come_out_as_they_went_in(datatype: Datatype, data: st.DataObject) -> None:
    bounds = np.iinfo(NUMBERS[datatype])
    values = data.draw(st.lists(st.integers(int(bounds.min), int(bounds.max)), min_size=1, max_size=9))
    sent = np.array(values, NUMBERS[datatype]).tobytes()
    for tensor in (
        from_binary("t", datatype, len(values), sent),
        from_json("t", datatype, len(values), json.loads(json.dumps(values))),
        from_json("t", datatype, len(values), column(values)),
    ):
        assert tensor.values == tuple(values)
    if datatype is Datatype.INT64:
        assert int64_bytes(values) == sent


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=5))
def test_bytes_come_out_as_triton_puts_them_in(values: list[bytes]) -> None:
    sent = serialize_byte_tensor(np.array(values, dtype=object)).item()
    assert from_binary("t", Datatype.BYTES, len(values), sent).values == tuple(values)
    assert b"".join(length_prefix(value) + value for value in values) == sent


@given(st.lists(st.text(max_size=9), min_size=1, max_size=5))
def test_texts_in_json_are_utf_8(values: list[str]) -> None:
    tensor = from_json("t", Datatype.BYTES, len(values), values)
    assert tensor.values == tuple(value.encode() for value in values)


@given(Floats)
def test_a_float32_is_the_shortest_decimal_that_rounds_to_it(number: float) -> None:
    (value,) = from_binary("t", Datatype.FP32, 1, np.float32(number).tobytes()).values
    if math.isnan(number):
        assert math.isnan(value)  # type: ignore[arg-type]
        return
    assert struct.pack("<f", value) == struct.pack("<f", number)
    assert value == float(str(np.float32(number)))  # numpy prints the shortest
    assert from_json("t", Datatype.FP32, 1, [number]).values == (value,)


@pytest.mark.parametrize("number", [1.1, 4, 7.5, 1.0, 19.99, 1.45, 3.3333333])
def test_a_guidance_scale_as_float32_means_what_was_written(number: float) -> None:
    assert shortest(float(np.float32(number))) == shortest(number) == number


def test_the_largest_float32_has_no_shorter_neighbour_beyond_it() -> None:
    largest = float(np.finfo(np.float32).max)
    assert struct.pack("<f", shortest(largest)) == struct.pack("<f", largest)
    assert shortest(math.inf) == math.inf


@given(st.binary(max_size=300))
def test_pixels_in_json_are_as_many_bytes_as_is_said(values: bytes) -> None:
    text = uint8_json(values)
    assert len(text) == uint8_json_size(len(values))
    assert json.loads(b"[" + text[1:] + b"]") == list(values)


@pytest.mark.parametrize(
    ("shape", "count"), [([1], 1), ([64], 64), ([3, 1], 3), ([2.0], 2)], ids=["one", "most", "column", "whole"]
)
def test_a_shape_is_a_column(shape: list[object], count: int) -> None:
    assert elements(shape, 64) == count


@pytest.mark.parametrize(
    "shape",
    [[], [0], [-1], [65], [10**9], [2**64], [-(2**63)], [1e300], [math.inf], [math.nan], [True], ["3"], [None], [[3]],
     [2, 2], [1, 64], [3, 1, 1], [1] * 500, [2, True], [2.5]],
    ids=range(20),
)  # fmt: skip
def test_any_other_shape_is_refused(shape: list[object]) -> None:
    with pytest.raises(ValueError, match="N from 1 to 64"):
        elements(shape, 64)


@pytest.mark.parametrize(
    ("datatype", "element", "message"),
    [
        (Datatype.INT64, 2**63, "is 9223372036854775808, which is no INT64"),
        (Datatype.INT64, -(2**63) - 1, "is -9223372036854775809, which is no INT64"),
        (Datatype.INT64, 10**400, "is 10000000000000000000… (401 digits), which is no INT64"),
        (Datatype.INT32, 2**31, "is 2147483648, which is no INT32"),
        (Datatype.INT64, 2.0**53, "must be written without point and exponent from 2^53 on, to be exact"),
        (Datatype.INT64, 1e300, "must be written without point and exponent from 2^53 on, to be exact"),
        (Datatype.INT32, 7.5, "is 7.5; must be a whole number"),
        (Datatype.INT32, math.nan, "is not a number; must be a whole number"),
        (Datatype.INT32, math.inf, "is beyond 1.8e308; must be a whole number"),
        (Datatype.INT64, True, "must be a number"),
        (Datatype.INT64, "7", "must be a number"),
        (Datatype.FP32, 1e39, "is 1e+39, which is too large for FP32"),
        (Datatype.FP32, 10**400, "is 10000000000000000000… (401 digits), which is too large for FP32"),
        (Datatype.FP32, [1.0], "must be a number"),
        (Datatype.BYTES, 7, "must be a text in quotes"),
        (Datatype.BYTES, None, "must be a text in quotes"),
    ],
    ids=range(16),
)
def test_a_wrong_element_is_named_by_its_place(datatype: Datatype, element: object, message: str) -> None:
    sound = "a" if datatype is Datatype.BYTES else 1
    assert faults(datatype, 3, [sound, element, sound]) == {"t[1]": message}


def test_all_wrong_elements_are_told() -> None:
    assert faults(Datatype.INT32, 3, [None, 1, "x"]).keys() == {"t[0]", "t[2]"}


@pytest.mark.parametrize("data", [None, 7, "7", {}, [1], [1, 2, 3], [[1], 2], [[1, 2]], [[], []]], ids=range(9))
def test_data_that_is_not_as_its_shape_is_refused(data: object) -> None:
    assert faults(Datatype.INT64, 2, data)


@pytest.mark.parametrize("datatype", [Datatype.INT32, Datatype.INT64, Datatype.FP32])
@pytest.mark.parametrize("size", [0, 3, 4, 7, 9, 15, 17, 1000])
def test_bytes_that_are_too_few_or_too_many_are_refused(datatype: Datatype, size: int) -> None:
    expected = {Datatype.INT32: 12, Datatype.INT64: 24, Datatype.FP32: 12}[datatype]
    assert faults(datatype, 3, bytes(size)) == {
        "t": f"has {size} bytes, and 3 elements of {datatype} have {expected}"
    }


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (b"", "its 0 bytes end before element 0 of 2"),
        (b"\1\0\0\0a\1\0", "its 7 bytes end before element 1 of 2"),
        (b"\1\0\0\0a\2\0\0\0b", "element 1 says that it has 2 bytes, and 1 are left"),
        (b"\xff\xff\xff\xff", "element 0 says that it has 4294967295 bytes, and 0 are left"),
        (b"\0\0\0\0\0\0\0\0x", "1 bytes are left after its 2 elements"),
    ],
    ids=["none", "cut length", "cut element", "huge", "more"],
)
def test_lengths_that_lie_are_refused(part: bytes, message: str) -> None:
    assert faults(Datatype.BYTES, 2, part) == {"t": message}


def test_nothing_is_set_aside_for_what_is_only_claimed() -> None:
    tracemalloc.start()
    try:
        assert faults(Datatype.BYTES, 64, b"\xff\xff\xff\x7f" * 16)
        with pytest.raises(ValueError, match="N from 1 to 64"):
            elements([10**12], 64)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


Input = st.sampled_from([Datatype.INT32, Datatype.INT64, Datatype.FP32, Datatype.BYTES])


@given(Input, st.integers(1, 64), st.binary(max_size=200) | Json | st.lists(Json, max_size=4))
def test_whatever_is_sent_gives_a_tensor_or_a_fault(datatype: Datatype, count: int, data: Any) -> None:
    read: Any = from_binary if isinstance(data, bytes) else from_json
    with contextlib.suppress(InvalidRequest):
        tensor = read("t", datatype, count, data)
        assert len(tensor.values) == count
        assert {type(value) for value in tensor.values} <= {int, float, bytes}
