"""The values of tensors: from JSON or little-endian bytes, as the Open Inference Protocol has both, and into either.

A FP32 is read as the shortest decimal that rounds to it, in both forms: who puts 1.1 into a float32 tensor means 1.1,
and not 1.10000002384. Knows no HTTP and no model. Nothing is set aside for what is only claimed: a
shape is judged by its numbers, and bytes by those that are there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.faults import short
from dit_serve.service.http.schemas import MAX_EXACT_FLOAT, whole

Value = int | float | bytes

_LENGTH = struct.Struct("<I")  # before each element of BYTES
_FLOAT = struct.Struct("<f")
_MOST_DIGITS = 9  # that tell every float32 from its neighbours (IEEE 754, 5.12.2)
_WIDTH = 4  # characters of a UINT8 in JSON, its comma included
# At each place of these: which character stands there, by the value.
_DIGITS = [bytes(ord(f"{value:3}"[place]) for value in range(256)) for place in range(_WIDTH - 1)]


class Datatype(StrEnum):
    """The protocol's datatypes that are used here."""

    UINT8 = "UINT8"
    INT32 = "INT32"
    INT64 = "INT64"
    FP32 = "FP32"
    BYTES = "BYTES"


_LETTERS = {Datatype.INT32: "i", Datatype.INT64: "q", Datatype.FP32: "f"}  # of `struct`


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as it was sent.

    Args:
        name: as sent.
        values: N of them, row after row; those of FP32 are the shortest decimals.
    """

    name: str
    values: tuple[Value, ...]


def elements(shape: Sequence[object], most: int) -> int:
    """How many elements a column has: [N], or [N, 1].

    Args:
        shape: as sent.
        most: they may be.

    Raises:
        ValueError: it is no such shape.
    """
    sizes = [size for each in shape[:2] if type(size := whole(each)) is int]
    if len(sizes) == len(shape) and len(shape) in (1, 2) and 1 <= sizes[0] <= most and sizes[1:] in ([], [1]):
        return sizes[0]
    raise ValueError(f"must be [N] or [N, 1], with N from 1 to {most}: one element an image")


def from_json(name: str, datatype: Datatype, count: int, data: object) -> Tensor:
    """The tensor whose elements stand in JSON, flat or one in each row.

    Args:
        name: of the tensor, by which faults are called.
        datatype: of its elements.
        count: of its elements.
        data: as sent.

    Raises:
        InvalidRequest: with all that is wrong with it.
    """
    if not isinstance(data, list):
        raise InvalidRequest([FieldError(name, "data must be a list of its elements")])
    if len(data) != count:
        raise InvalidRequest([FieldError(name, f"data has {len(data)} elements, and its shape says {count}")])
    if all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [row[0] for row in data]
    values, faults = list[Value](), list[FieldError]()
    for index, element in enumerate(data):
        try:
            values.append(_from_json(datatype, element))
        except ValueError as error:
            faults.append(FieldError(f"{name}[{index}]", str(error)))
    if faults:
        raise InvalidRequest(faults)
    return Tensor(name, tuple(values))


def from_binary(name: str, datatype: Datatype, count: int, part: bytes) -> Tensor:
    """The tensor whose elements are these bytes, and no others.

    Args:
        name: of the tensor, by which faults are called.
        datatype: of its elements.
        count: of its elements.
        part: of the body.

    Raises:
        InvalidRequest: they are no such tensor.
    """
    try:
        values = list(_byte_elements(part, count)) if datatype is Datatype.BYTES else _numbers(part, datatype, count)
    except ValueError as error:
        raise InvalidRequest([FieldError(name, str(error))]) from None
    return Tensor(name, tuple(values))


def shortest(number: float) -> float:
    """The shortest decimal that rounds to the same float32 as a number does; infinity and NaN as they are.

    Raises:
        ValueError: no float32 is as large.
    """
    try:
        single = _FLOAT.pack(float(number))
    except OverflowError:
        raise ValueError(f"is {short(number)}, which is too large for FP32") from None
    if not math.isfinite(number):
        return number
    (rounded,) = _FLOAT.unpack(single)
    return next(decimal for decimal in map(float, _decimals(rounded)) if _packs_to(decimal, single))


def int64_bytes(values: Sequence[int]) -> bytes:
    """The elements of an INT64 tensor."""
    return struct.pack(f"<{len(values)}q", *values)


def length_prefix(element: bytes) -> bytes:
    """What stands before an element of BYTES."""
    return _LENGTH.pack(len(element))


def uint8_json_size(count: int) -> int:
    """Bytes of so many elements of UINT8 as `uint8_json` writes them."""
    return _WIDTH * count


def uint8_json(values: bytes) -> bytes:
    """Elements of UINT8 in JSON, each after a comma and as wide as the widest: `,  7, 42,255`.

    JSON allows the spaces, and thanks to them it is known how long the text will be before any element is.
    """
    text = bytearray(b"," * (_WIDTH * len(values)))
    for place in range(1, _WIDTH):
        text[place::_WIDTH] = values.translate(_DIGITS[place - 1])
    return bytes(text)


def _from_json(datatype: Datatype, element: object) -> Value:
    if datatype is Datatype.BYTES:
        if not isinstance(element, str):
            raise ValueError("must be a text in quotes")
        return element.encode("utf-8", "surrogatepass")
    if isinstance(element, bool) or not isinstance(element, int | float):
        raise ValueError("must be a number")
    return shortest(element) if datatype is Datatype.FP32 else _integer(datatype, element)


def _integer(datatype: Datatype, element: float) -> int:
    number = whole(element)
    if not isinstance(number, int):
        raise ValueError(f"is {short(element)}; must be a whole number")
    if isinstance(element, float) and abs(element) >= MAX_EXACT_FLOAT:
        raise ValueError("must be written without point and exponent from 2^53 on, to be exact")
    bits = 8 * struct.calcsize(_LETTERS[datatype])
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"is {short(number)}, which is no {datatype}")
    return number


def _numbers(part: bytes, datatype: Datatype, count: int) -> Iterable[Value]:
    form = struct.Struct(f"<{count}{_LETTERS[datatype]}")
    if len(part) != form.size:
        raise ValueError(f"has {len(part)} bytes, and {count} elements of {datatype} have {form.size}")
    values: tuple[int | float, ...] = form.unpack(part)
    return map(shortest, values) if datatype is Datatype.FP32 else values


def _byte_elements(part: bytes, count: int) -> Iterator[bytes]:
    """The elements of a BYTES tensor: each is preceded by its length in four bytes."""
    place = 0
    for index in range(count):
        if len(part) - place < _LENGTH.size:
            raise ValueError(f"its {len(part)} bytes end before element {index} of {count}")
        (length,) = _LENGTH.unpack_from(part, place)
        place += _LENGTH.size
        if len(part) - place < length:
            raise ValueError(f"element {index} says that it has {length} bytes, and {len(part) - place} are left")
        yield part[place : place + length]
        place += length
    if place != len(part):
        raise ValueError(f"{len(part) - place} bytes are left after its {count} elements")


def _decimals(number: float) -> Iterator[str]:
    return (f"{number:.{digits}g}" for digits in range(1, _MOST_DIGITS + 1))


def _packs_to(number: float, single: bytes) -> bool:
    try:
        return _FLOAT.pack(number) == single
    except OverflowError:  # rounded up beyond the largest
        return False
