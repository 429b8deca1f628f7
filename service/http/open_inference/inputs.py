"""The tensors that a request sends: what each says of itself, and its elements, in the JSON or in the bytes after it.

Knows the protocol's JSON and no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.batch_schemas import MAX_REQUESTS
from dit_serve.service.http.faults import Members
from dit_serve.service.http.open_inference.schemas import INPUTS, InputParameters, RequestedInput
from dit_serve.service.http.open_inference.tensors import Datatype, Tensor, elements, from_binary, from_json
from dit_serve.service.http.prompts import MOST_CHARACTERS
from dit_serve.service.http.reading import read_part

Kind = TypeVar("Kind", bound=BaseModel)

NEEDED = ("class_id", "label")
_MOST_COMPARED = 2  # unknown names for which a near one is looked up, of each object


def read_inputs(
    inputs: Sequence[Any] | None, twin: object, rest: bytes, *, is_told: bool
) -> tuple[dict[str, Tensor], list[FieldError]]:
    """The sound tensors of a request by name, all with one element an image, and what is wrong with the others.

    Args:
        inputs: as sent, None if there are none.
        twin: the same, as it knows what its objects have more than once.
        rest: the bytes after the JSON.
        is_told: whether it is told already what is wrong with the list.
    """
    if inputs is None:
        return {}, [] if is_told else [FieldError("inputs", "is required: class_id or label, one element an image")]
    twins = twin if isinstance(twin, list) and len(twin) == len(inputs) else [None] * len(inputs)
    reader = _Reader(rest)
    for index, (each, its_twin) in enumerate(zip(inputs, twins, strict=True)):
        reader.read(each, its_twin, f"inputs[{index}]")
    return reader.finish()


def read_one(kind: type[Kind], value: object, twin: object, place: str) -> tuple[Kind, list[FieldError]]:
    """An object in the body without its wrong fields, and what is wrong with these.

    Args:
        kind: of object.
        value: as strict JSON says.
        twin: the same, as it knows what it has more than once.
        place: where it stands.
    """
    if not isinstance(value, dict):
        return kind(), [FieldError(place, "must be a JSON object")]
    part, faults = read_part(kind, value, twin if isinstance(twin, Members) else Members(), _MOST_COMPARED)
    return part, [FieldError(f"{place}.{fault.field}", fault.message) for fault in faults]


class _Reader:
    """Takes one input after the other, each with its bytes."""

    def __init__(self, rest: bytes) -> None:
        self._rest = rest
        self._start = 0  # of the bytes of the next input
        self._has_lost_place = False  # an input did not say how many are its own
        self._has_others = False  # there are inputs that nobody knows
        self._seen = dict[str, str]()  # the name of each input, and where it stands
        self._tensors = dict[str, Tensor]()
        self._faults = list[FieldError]()

    def read(self, value: object, twin: object, place: str) -> None:
        """Takes in the next input."""
        said, faults = read_one(RequestedInput, value, twin, place)
        its_twin = twin.get("parameters") if isinstance(twin, Members) else None
        parameters, more = read_one(InputParameters, said.parameters or {}, its_twin, f"{place}.parameters")
        faults += more
        part = self._take(parameters.binary_data_size, place, is_said=not faults)
        if said.name in self._seen:
            faults.append(FieldError(f"{place}.name", "is among the inputs already"))
        elif said.name in INPUTS:
            self._seen[said.name] = place
        if not faults:
            faults = self._said_faults(said, part, place)
        self._faults += faults
        self._has_others |= bool(faults) and said.name not in INPUTS
        if faults or (part is None and said.data is None):
            return
        try:
            self._tensors[said.name] = _tensor(said, part)
        except InvalidRequest as error:
            self._faults += error.errors

    def finish(self) -> tuple[dict[str, Tensor], list[FieldError]]:
        """All tensors, and what is wrong with them, alone and together."""
        left = len(self._rest) - self._start
        if left and not self._has_lost_place:
            self._faults.append(FieldError("(body)", f"has {left} bytes after the JSON that belong to no input"))
        given = [name for name in NEEDED if name in self._seen]
        if len(given) > 1:
            self._faults.append(FieldError(self._seen[given[1]], f"{' and '.join(given)} are both given: give one"))
        elif not given and not self._has_others:
            self._faults.append(FieldError("inputs", "class_id or label is required, one element an image"))
        return self._of_one_length(given), self._faults

    def _take(self, size: int | None, place: str, *, is_said: bool) -> bytes | None:
        """The bytes of the next input; None if its elements stand in the JSON."""
        self._has_lost_place |= not is_said
        if size is None or self._has_lost_place:
            return None
        part = self._rest[self._start : self._start + size]
        self._start += len(part)
        if len(part) < size:
            self._has_lost_place = True
            text = f"is {size}; after the JSON {len(part)} bytes are left for it"
            self._faults.append(FieldError(f"{place}.parameters.binary_data_size", text))
            return None
        return part

    def _said_faults(self, said: RequestedInput, part: bytes | None, place: str) -> list[FieldError]:
        """What is wrong with what an input says of itself."""
        if said.name not in INPUTS:
            return [FieldError(f"{place}.name", f"must be one of {', '.join(INPUTS)}")]
        faults = list[FieldError]()
        if said.datatype != INPUTS[said.name]:
            faults.append(FieldError(f"{place}.datatype", f"must be {INPUTS[said.name]} for {said.name}"))
        try:
            elements(said.shape, MAX_REQUESTS)
        except ValueError as error:
            faults.append(FieldError(f"{place}.shape", str(error)))
        if (said.data is None) == (part is None) and not self._has_lost_place:
            text = "its elements must stand in data, or after the JSON with binary_data_size in its parameters"
            faults.append(FieldError(place, text))
        return faults

    def _of_one_length(self, given: Sequence[str]) -> dict[str, Tensor]:
        """The tensors with one element an image, which the class says how many there are of."""
        first = next((name for name in (*given, *self._tensors) if name in self._tensors), None)
        if first is None:
            return {}
        n = len(self._tensors[first].values)
        for name, tensor in self._tensors.items():
            if len(tensor.values) != n:
                text = f"has {len(tensor.values)} elements, and {first} has {n}: one an image"
                self._faults.append(FieldError(self._seen[name], text))
        return {name: tensor for name, tensor in self._tensors.items() if len(tensor.values) == n}


def _tensor(said: RequestedInput, part: bytes | None) -> Tensor:
    """The elements of an input that says nothing wrong of itself; texts are in UTF-8.

    Raises:
        InvalidRequest: with all that is wrong with them.
    """
    datatype, count = INPUTS[said.name], elements(said.shape, MAX_REQUESTS)
    if part is None:
        tensor = from_json(said.name, datatype, count, said.data)
    else:
        tensor = from_binary(said.name, datatype, count, part)
    if datatype is Datatype.BYTES and (faults := _text_faults(tensor)):
        raise InvalidRequest(faults)
    return tensor


def _text_faults(tensor: Tensor) -> list[FieldError]:
    faults = list[FieldError]()
    for index, value in enumerate(tensor.values):
        assert isinstance(value, bytes)
        try:
            length = len(value.decode())
        except UnicodeDecodeError:
            faults.append(FieldError(f"{tensor.name}[{index}]", "must be text in UTF-8"))
            continue
        if length > MOST_CHARACTERS:
            text = f"has {length} characters; must have at most {MOST_CHARACTERS}"
            faults.append(FieldError(f"{tensor.name}[{index}]", text))
    return faults
