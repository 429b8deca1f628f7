"""From the body of an inference request to images: its tensors are read, each image is judged as one of /generate.

    {"inputs": [{"name": "class_id", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}}, …],
     "parameters": {"cfg": 4, "steps": 20, "seed": 5}}   and then, from Inference-Header-Content-Length on, bytes

All faults are told at once, each by where it stands: `inputs[0].shape`, `class_id[3]`, `parameters.cfg`. Knows no HTTP
beyond the body and two headers, and no front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dit_serve.models.checks import MAX_SEED
from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.faults import Members, read_members
from dit_serve.service.http.open_inference.inputs import read_inputs, read_one
from dit_serve.service.http.open_inference.schemas import (
    DEFAULT_OUTPUTS,
    EXAMPLE,
    OUTPUTS,
    SHARED,
    InferParameters,
    InferRequest,
    OutputParameters,
    RequestedOutput,
)
from dit_serve.service.http.open_inference.tensors import Tensor
from dit_serve.service.http.prompts import class_or_fault
from dit_serve.service.http.reading import Form, Wanted, choose, read_fields, read_part
from dit_serve.service.http.schemas import GenerateRequest, whole

HEADER = "Inference-Header-Content-Length"
CLASS_ID, LABEL, SEED = "class_id", "label", "seed"
_SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True, slots=True)
class Asked:
    """An output that is asked for, and whether as bytes."""

    name: str
    is_binary: bool


@dataclass(frozen=True, slots=True)
class InferForm:
    """A request as it was sent.

    Args:
        id: that the answer repeats, None if it has none.
        model_name: in the body, None if it does not say.
        tensors: the sound inputs by name, all of as many elements as there are images.
        shared: parameters that hold for all images, as sent, by the name that they were sent under.
        outputs: what is asked for.
        deadline_ms: how long it may take, None if it does not say.
        faults: what is wrong with it, whatever the model.
    """

    id: str | None
    model_name: str | None
    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Any]
    outputs: tuple[Asked, ...]
    deadline_ms: int | None
    faults: tuple[FieldError, ...]

    @property
    def n(self) -> int:
        """How many images are asked for."""
        return max((len(tensor.values) for tensor in self.tensors.values()), default=1)


def read_infer(body: bytes, lengths: Sequence[str] = (), deadlines: Sequence[str] = ()) -> InferForm:
    """The request in a body.

    Args:
        body: as sent.
        lengths: every Inference-Header-Content-Length header.
        deadlines: every X-Deadline-Ms header.

    Raises:
        MalformedBody: it does not begin with JSON.
        InvalidRequest: that is no object, or the header is no number of its bytes.
    """
    text, rest = _split(body, lengths)
    request, faults = read_fields(InferRequest, text, EXAMPLE)
    members = read_members(text)
    wrong = {fault.field for fault in faults}
    tensors, more = read_inputs(request.inputs, members.get("inputs"), rest, is_told="inputs" in wrong)
    faults += more
    parameters, shared, more = _parameters(request.parameters or {}, members.get("parameters"), tensors)
    faults += more
    outputs, more = _outputs(request.outputs or [], members.get("outputs"), parameters.binary_data_output)
    faults += more
    timeout_ms = -(-parameters.timeout // 1000) if parameters.timeout else None
    deadline_ms, wrong_deadline = read_deadline(deadlines, timeout_ms)
    faults += wrong_deadline
    return InferForm(request.id, request.model_name, tensors, shared, outputs, deadline_ms, tuple(faults))


def choose_all(form: InferForm, name: str, model: ModelInfo | None, *, by_phrase: bool) -> list[Wanted]:
    """What each image is to be.

    Args:
        form: the request.
        name: of the model, in the path.
        model: which that is; None if nothing is loaded.
        by_phrase: see `class_of_prompt`.

    Raises:
        InvalidRequest: with all that is wrong with any of them.
    """
    models = {} if model is None else {model.name: model}
    faults, wanted = dict[str, FieldError](), list[Wanted]()
    for fault in form.faults:
        faults[fault.field] = fault
    if form.model_name not in (None, name, *models):
        faults["model_name"] = FieldError("model_name", "is not the one in the path: leave it out")
    for k in range(form.n):
        try:
            wanted.append(_choose(form, k, models, by_phrase=by_phrase))
        except InvalidRequest as error:
            for fault in error.errors:
                place = _place(form, fault.field, k)
                faults.setdefault(place, FieldError(place, fault.message))
    if faults:
        raise InvalidRequest(list(faults.values()))
    return wanted


def _split(body: bytes, lengths: Sequence[str]) -> tuple[bytes, bytes]:
    """The JSON of a body, and what follows it."""
    if not lengths:
        return body, b""
    length = lengths[0].strip()
    is_number = length.isascii() and length.isdecimal() and len(length) < 20
    if len(lengths) > 1 or not is_number or int(length) > len(body):
        text = f"must be one whole number, the bytes of the body's JSON: at most all {len(body)}"
        raise InvalidRequest([FieldError(HEADER, text)])
    return body[: int(length)], body[int(length) :]


def _parameters(
    given: Mapping[str, Any], twin: object, tensors: Mapping[str, Tensor]
) -> tuple[InferParameters, dict[str, Any], list[FieldError]]:
    """The request's parameters, those of them that hold for all images, and what is wrong with them."""
    kept = {name: value for name, value in given.items() if name not in _SEQUENCES}
    parameters, faults = read_one(InferParameters, kept, twin, "parameters")
    for name in _SEQUENCES:
        if name in given:
            text = "there are no sequences: each request is by itself; leave it out"
            faults.append(FieldError(f"parameters.{name}", text))
    shared = {name: value for name, value in kept.items() if name in SHARED}
    for name in shared:
        if SHARED[name] in tensors:
            faults.append(FieldError(f"parameters.{name}", "is among the inputs too: give it once"))
    return parameters, shared, faults


def _outputs(
    asked: Sequence[Any], twin: object, is_binary: bool
) -> tuple[tuple[Asked, ...], list[FieldError]]:
    """The outputs that are asked for, and what is wrong with them."""
    twins = twin if isinstance(twin, list) and len(twin) == len(asked) else [None] * len(asked)
    found, faults = dict[str, Asked](), list[FieldError]()
    for index, (each, its_twin) in enumerate(zip(asked, twins, strict=True)):
        place = f"outputs[{index}]"
        output, wrong = read_one(RequestedOutput, each, its_twin, place)
        its_parameters = its_twin.get("parameters") if isinstance(its_twin, Members) else None
        parameters, more = read_one(OutputParameters, output.parameters or {}, its_parameters, f"{place}.parameters")
        faults += [*wrong, *more]
        if output.name in found:
            faults.append(FieldError(f"{place}.name", "is asked for more than once"))
        elif output.name in OUTPUTS:
            has_own = parameters.binary_data is not None
            found[output.name] = Asked(output.name, bool(parameters.binary_data) if has_own else is_binary)
        elif not wrong:
            faults.append(FieldError(f"{place}.name", f"must be one of {', '.join(OUTPUTS)}"))
    return tuple(found.values()) or tuple(Asked(name, is_binary) for name in DEFAULT_OUTPUTS), faults


def _choose(form: InferForm, k: int, models: Mapping[str, ModelInfo], *, by_phrase: bool) -> Wanted:
    """What image k is to be, judged as a request of /generate."""
    fields = {SHARED[name]: _kth(name, value, k) for name, value in form.shared.items()}
    given = {name: tensor.values[k] for name, tensor in form.tensors.items() if k < len(tensor.values)}
    label = given.pop(LABEL, None)
    fields |= {name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()}
    request, faults = read_part(GenerateRequest, fields, Members(), 0)

    def class_of(request: GenerateRequest, model: ModelInfo) -> int | FieldError | None:
        if not isinstance(label, bytes):
            return request.class_id
        return class_or_fault(LABEL, label.decode(), model, by_phrase=by_phrase)

    return choose(Form(request, None, tuple(faults)), models, class_of)


def _kth(name: str, value: object, k: int) -> object:
    """A parameter's value for image k: of a seed its own, the others as they are, to be judged where they are wrong."""
    first = whole(value)
    if name != SEED or k == 0 or type(first) is not int:
        return value
    return (first + k) % (MAX_SEED + 1)


def _place(form: InferForm, field: str, k: int) -> str:
    """Where a field of image k stands."""
    sent = next((name for name in form.shared if SHARED[name] == field), None)
    return f"parameters.{sent}" if sent is not None and field not in form.tensors else f"{field}[{k}]"
