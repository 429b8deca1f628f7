"""From the body of POST /v1/batch to its requests: each is read as one of /generate, and all faults are told at once.

A fault of a request is called by where it stands: `requests[3].steps`. Knows no HTTP beyond the body and one header,
and no front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.batch_schemas import EXAMPLE, BatchRequest
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.faults import MAX_COMPARED, Members, field_errors, read_members, repeated_fields
from dit_serve.service.http.reading import (
    Form,
    Wanted,
    besides,
    choose,
    no_json,
    no_object,
    read_object,
    sound_part,
    without_mark,
)

DEADLINE = "deadline_ms"


@dataclass(frozen=True, slots=True)
class BatchForm:
    """A batch as it was sent.

    Args:
        forms: its requests by where they stand; what is no object is among the faults alone.
        deadline_ms: how long all of it may take, None if it does not say.
        faults: what is wrong beside what is wrong with its requests.
    """

    forms: Mapping[int, Form]
    deadline_ms: int | None
    faults: tuple[FieldError, ...]

    @property
    def has_faults(self) -> bool:
        """Whether anything is wrong, whatever the models."""
        return bool(self.faults) or any(form.faults for form in self.forms.values())


def read_batch(body: bytes, deadlines: Sequence[str] = ()) -> BatchForm:
    """The requests in a body.

    Args:
        body: as sent.
        deadlines: every X-Deadline-Ms header.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no object.
    """
    body = without_mark(body)
    try:
        value = from_json(body)
    except ValueError as error:
        raise no_json(str(error), EXAMPLE) from None
    if not isinstance(value, dict):
        raise no_object()
    members = read_members(body)
    batch, faults = _outside(value, members)
    deadline_ms, wrong_deadline = read_deadline(deadlines, batch.deadline_ms)
    faults += wrong_deadline
    requests, twins = batch.requests or [], members.get("requests")
    if not isinstance(twins, list) or len(twins) != len(requests):
        twins = [None] * len(requests)  # the other parser did not read it so
    forms = dict[int, Form]()
    for index, (each, twin) in enumerate(zip(requests, twins, strict=True)):
        if isinstance(each, dict):
            twin = twin if isinstance(twin, Members) else Members()
            forms[index] = _read_one(each, twin, max(1, MAX_COMPARED // len(requests)))
        else:
            faults.append(FieldError(_place(index), "must be a JSON object"))
    return BatchForm(forms, deadline_ms, tuple(faults))


def choose_all(form: BatchForm, models: Mapping[str, ModelInfo], checked: Callable[[Form], Form]) -> list[Wanted]:
    """The model and class of each request.

    Args:
        form: the batch.
        models: what is loaded, by name.
        checked: adds to a request's faults what the whole asks of it.

    Raises:
        InvalidRequest: with all that is wrong with any of them.
    """
    faults, wanted = list(form.faults), list[Wanted]()
    for index, each in form.forms.items():
        try:
            wanted.append(choose(checked(each), models))
        except InvalidRequest as error:
            faults += [FieldError(f"{_place(index)}.{fault.field}", fault.message) for fault in error.errors]
    if faults:
        raise InvalidRequest(faults)
    return wanted


def _outside(value: Mapping[str, Any], members: Members) -> tuple[BatchRequest, list[FieldError]]:
    """The batch without its wrong fields, and what is wrong with these."""
    try:
        batch, faults = BatchRequest.model_validate(value), list[FieldError]()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        batch, faults = sound_part(BatchRequest, value, found), field_errors(found, BatchRequest)
    faults += besides(faults, repeated_fields(members, BatchRequest))
    if batch.requests is None:
        faults += besides(faults, [FieldError("requests", f"is required, as in {EXAMPLE}")])
    return batch, faults


def _read_one(value: Mapping[str, Any], members: Members, most_compared: int) -> Form:
    form = read_object({name: each for name, each in value.items() if name != DEADLINE}, members, most_compared)
    if DEADLINE not in value:
        return form
    faults = [fault for fault in form.faults if fault.field != DEADLINE]
    return replace(form, faults=(*faults, FieldError(DEADLINE, "holds for the whole batch: give it beside requests")))


def _place(index: int) -> str:
    return f"requests[{index}]"
