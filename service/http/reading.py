"""From the body of POST /generate to a model and its jobs: reads, checks, and tells every fault of a request at once.
The bodies in that of POST /v1/batch are read here too, one by one.

What is wrong by itself is told together with what the model cannot do; when no model is found, with what none of those
loaded could. Knows no HTTP beyond the body and one header, and no front.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from dit_serve.models.checks import MAX_SEED, class_called, model_faults
from dit_serve.models.options import DEFAULT_SAMPLER, ModelInfo, SampleSpec, guidance_fault
from dit_serve.service.errors import FieldError, InvalidRequest, MalformedBody, ModelNotFound
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.faults import MAX_COMPARED, Members, field_errors, read_members, repeated_fields, short
from dit_serve.service.http.schemas import MAX_EXACT_FLOAT, GenerateRequest
from dit_serve.service.wire.job import Job

Kind = TypeVar("Kind", bound=BaseModel)
ClassOf = Callable[[GenerateRequest, ModelInfo], int | FieldError | None]

EXAMPLE = '{"class_id": 7}'


@dataclass(frozen=True, slots=True)
class Form:
    """A request as it was sent.

    Args:
        request: what was asked, with the default in the place of each wrong field.
        deadline_ms: how long it may take, None if it does not say.
        faults: what is wrong with it, whatever the model.
    """

    request: GenerateRequest
    deadline_ms: int | None = None
    faults: tuple[FieldError, ...] = ()

    @property
    def wrong(self) -> set[str]:
        """The names of the wrong fields."""
        return {fault.field for fault in self.faults}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request comes to: a request that this model can serve."""

    request: GenerateRequest
    model: ModelInfo
    class_id: int


def read_form(body: bytes, deadlines: Sequence[str] = ()) -> Form:
    """The request in a body.

    Args:
        body: as sent.
        deadlines: every X-Deadline-Ms header.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no object.
    """
    request, faults = read_fields(GenerateRequest, body, EXAMPLE)
    faults += class_faults(request, {fault.field for fault in faults})
    deadline_ms, wrong_deadline = read_deadline(deadlines, request.deadline_ms)
    faults += wrong_deadline
    return Form(request, deadline_ms, tuple(faults))


def read_fields(kind: type[Kind], body: bytes, example: str) -> tuple[Kind, list[FieldError]]:
    """The fields in a body, with the default in the place of each wrong one, and what is wrong with these.

    Args:
        kind: of request.
        body: as sent.
        example: of such a body, in JSON.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no object.
    """
    body = without_mark(body)
    try:
        request, faults = kind.model_validate_json(body), list[FieldError]()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        if found[0]["type"] == "json_invalid":
            raise no_json(str(found[0]["msg"]).removeprefix("Invalid JSON: "), example) from None
        if not found[0]["loc"]:
            raise no_object() from None
        request, faults = sound_part(kind, from_json(body), found), field_errors(found, kind)
    if faults or body.count(b":") > len(request.model_fields_set):  # with fewer, no field can be there twice
        faults += besides(faults, repeated_fields(read_members(body), kind))
    return request, faults


def read_object(value: Mapping[str, Any], members: Members, most_compared: int) -> Form:
    """The request in a JSON object that stands in a larger body; its deadline is the body's affair.

    Args:
        value: as strict JSON says.
        members: the same object, which knows what it has more than once.
        most_compared: unknown names for which a near one is looked up.
    """
    request, faults = read_part(GenerateRequest, value, members, most_compared)
    faults += class_faults(request, {fault.field for fault in faults})
    return Form(request, None, tuple(faults))


def read_part(
    kind: type[Kind], value: Mapping[str, Any], members: Members, most_compared: int = MAX_COMPARED
) -> tuple[Kind, list[FieldError]]:
    """The fields of a JSON object that stands in a larger body, as `read_fields` has those of a body.

    Args:
        kind: of object.
        value: as strict JSON says.
        members: the same object, which knows what it has more than once.
        most_compared: unknown names for which a near one is looked up.
    """
    try:
        part, faults = kind.model_validate(value), list[FieldError]()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        part, faults = sound_part(kind, value, found), field_errors(found, kind, most_compared)
    faults += besides(faults, repeated_fields(members, kind))
    return part, faults


def class_in(request: GenerateRequest, model: ModelInfo) -> int | FieldError | None:
    """The class of a model that `class_id` or `class` means, or why none is; None if none was given."""
    name = request.class_name
    if name is None:
        return request.class_id
    try:
        return class_called(model, name)
    except ValueError as error:
        return FieldError("class", str(error).replace(repr(name), "this"))


def choose(form: Form, models: Mapping[str, ModelInfo], class_of: ClassOf = class_in) -> Wanted:
    """The model that a request is for, and its class there.

    Args:
        form: the request.
        models: what is loaded, by all names that may be given, the default one first.
        class_of: finds the class that is meant in a model.

    Raises:
        InvalidRequest: with all that is wrong with the request, its model and what it asks of it.
    """
    request, faults, judges = form.request, list(form.faults), list(models.values())
    if models and not form.wrong & {"model", "resolution"}:
        try:
            judges = [find_model(request.model, request.resolution, models)]
        except InvalidRequest as error:
            faults += error.errors
    class_ids = [class_of(request, judge) for judge in judges]
    faults += besides(faults, _refused_by_all(request, class_ids, judges))
    if faults or not class_ids or not isinstance(class_ids[0], int):
        raise InvalidRequest(faults)
    return Wanted(_with_default_scale(request, judges[0]), judges[0], class_ids[0])


def model_named(name: str, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """The model that a path or a body calls so, in a protocol where one that is not there is 404.

    Raises:
        ModelNotFound: none is called so.
    """
    if name not in models:
        raise ModelNotFound(f"no model is called so; loaded are {', '.join(models)}")
    return models[name]


def find_model(name: str | None, resolution: int | None, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """The model of this name, else the first one of this resolution, else the first one.

    Raises:
        InvalidRequest: none is called so or makes such images, or the one called so makes others.
    """
    faults = []
    if name is not None and name not in models:
        faults.append(FieldError("model", f"none is called so; loaded are {', '.join(models)}"))
    named = [models[name]] if name is not None and name in models else list(models.values())
    found = [model for model in named if resolution in (None, model.resolution)]
    if not found:
        made = ", ".join(dict.fromkeys(f"{model.resolution} ({model.name})" for model in named))
        faults.append(FieldError("resolution", f"is {short(resolution or 0)}; there is {made}"))
    if faults:
        raise InvalidRequest(faults)
    return found[0]


def make_jobs(wanted: Wanted, request_id: str, next_id: Callable[[], int]) -> list[Job]:
    """One job per image, each with its own seed."""
    request, model = wanted.request, wanted.model.name
    sampler = request.sampler or DEFAULT_SAMPLER
    specs = [
        SampleSpec(wanted.class_id, seed, request.steps, request.guidance_scale, sampler) for seed in _seeds(request)
    ]
    return [Job(next_id(), request_id, model, spec, request.preview_every) for spec in specs]


def without_mark(body: bytes) -> bytes:
    """The body without the byte order mark that some editors and .NET's encoder put first."""
    return body.removeprefix(codecs.BOM_UTF8)


def no_json(reason: str, example: str) -> MalformedBody:
    """What is said of a body that is not JSON: with a rule and a place, and nothing that was sent."""
    return MalformedBody(f"the body must be one JSON object in UTF-8, such as {example}: {reason}")


def no_object() -> InvalidRequest:
    """What is said of JSON that is no object."""
    return InvalidRequest([FieldError("(body)", "must be a JSON object")])


def sound_part(kind: type[Kind], value: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Kind:
    """The request of an object without the fields in which pydantic has found faults."""
    wrong = {fault["loc"][0] for fault in found}
    return kind.model_validate({name: each for name, each in value.items() if name not in wrong})


def besides(faults: Sequence[FieldError], more: Iterable[FieldError]) -> list[FieldError]:
    """Those of fields that nothing is said about yet."""
    told = {fault.field for fault in faults}
    return [fault for fault in more if fault.field not in told]


def class_faults(request: GenerateRequest, wrong: set[str]) -> list[FieldError]:
    """What is wrong with how a class is given: twice, or not at all; `wrong` are the names of wrong fields."""
    has_id = request.class_id is not None or "class_id" in wrong
    has_name = request.class_name is not None or "class" in wrong
    if has_id and has_name:
        return [FieldError("class", "class_id and class are both given: give one of them")]
    return [] if has_id or has_name else [FieldError("class_id", "class_id or class is required")]


def _refused_by_all(
    request: GenerateRequest, class_ids: Sequence[int | FieldError | None], models: Sequence[ModelInfo]
) -> list[FieldError]:
    """What none of these models can do of what is asked, in the words for the first one."""
    refused = [
        {fault.field: fault for fault in _limits(_with_default_scale(request, model), class_id, model)}
        for class_id, model in zip(class_ids, models, strict=True)
    ]
    return [fault for field, fault in refused[0].items() if all(field in each for each in refused)] if refused else []


def _with_default_scale(request: GenerateRequest, model: ModelInfo) -> GenerateRequest:
    """The request with the model's own guidance scale where it names none."""
    if "guidance_scale" in request.model_fields_set:
        return request
    return request.model_copy(update={"guidance_scale": model.default_guidance_scale})


def _limits(request: GenerateRequest, class_id: int | FieldError | None, model: ModelInfo) -> Iterator[FieldError]:
    """What the model cannot do of what is asked."""
    if isinstance(class_id, FieldError):
        yield class_id
        class_id = None
    for field, text in model_faults(model, class_id, request.steps, request.sampler):
        yield FieldError(field, text)
    if fault := guidance_fault(model, request.guidance_scale):
        yield FieldError("cfg", fault)


def _seeds(request: GenerateRequest) -> list[int]:
    """One an image; those that are drawn are such as every client can read (JavaScript has no larger integers)."""
    if request.seed is None:
        return [secrets.randbelow(MAX_EXACT_FLOAT) for _ in range(request.n)]
    return [(request.seed + k) % (MAX_SEED + 1) for k in range(request.n)]
