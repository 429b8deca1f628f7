"""From the body of POST /generate to a model and its jobs: reads, checks, and tells every fault of a request at once.

What is wrong by itself is told together with what the model cannot do; when no model is found, only the latter is
missing. Knows no HTTP beyond the body and one header, and no front.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from dit_serve.models.labels import Labels
from dit_serve.models.options import DEFAULT_SAMPLER, ModelInfo, SampleSpec, guidance_fault
from dit_serve.service.errors import FieldError, InvalidRequest, MalformedBody
from dit_serve.service.http.deadline import asked_milliseconds
from dit_serve.service.http.schemas import MAX_SEED, GenerateRequest, spellings
from dit_serve.service.wire.job import Job


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
    try:
        request, faults = GenerateRequest.model_validate_json(body), list[FieldError]()
    except ValidationError as error:
        request, faults = _read_sound_part(body, error.errors(include_url=False, include_context=False))
    faults += _class_faults(request, {fault.field for fault in faults})
    deadline_ms = None
    try:
        deadline_ms = asked_milliseconds(deadlines, request.deadline_ms)
    except InvalidRequest as error:
        faults += error.errors
    return Form(request, deadline_ms, tuple(faults))


def choose(form: Form, models: Mapping[str, ModelInfo]) -> Wanted:
    """The model that a request is for, and its class there.

    Raises:
        InvalidRequest: with all that is wrong with the request, its model and what it asks of it.
    """
    request, faults = form.request, list(form.faults)
    if models and not form.wrong & {"model", "resolution"}:
        try:
            model = find_model(request.model, request.resolution, models)
        except InvalidRequest as error:
            faults += error.errors
        else:
            request = _with_default_scale(request, model)
            class_id = _class_id(request, model)
            faults += [fault for fault in _limits(request, class_id, model) if fault.field not in form.wrong]
            if not faults and isinstance(class_id, int):
                return Wanted(request, model, class_id)
    raise InvalidRequest(faults)


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
        made = ", ".join(f"{model.resolution} ({model.name})" for model in named)
        faults.append(FieldError("resolution", f"is {_short(resolution or 0)}; there is {made}"))
    if faults:
        raise InvalidRequest(faults)
    return found[0]


def make_jobs(wanted: Wanted, request_id: str, next_id: Callable[[], int], preview_every: int = 0) -> list[Job]:
    """One job per image, each with its own seed."""
    request, model = wanted.request, wanted.model.name
    sampler = request.sampler or DEFAULT_SAMPLER
    specs = [
        SampleSpec(wanted.class_id, seed, request.steps, request.guidance_scale, sampler) for seed in _seeds(request)
    ]
    return [Job(next_id(), request_id, model, spec, preview_every) for spec in specs]


def _read_sound_part(body: bytes, faults: Sequence[Any]) -> tuple[GenerateRequest, list[FieldError]]:
    """The request without its wrong fields, and what is wrong with these."""
    if faults[0]["type"] == "json_invalid":
        raise MalformedBody("the body must be one JSON object in UTF-8, such as {\"class_id\": 7}")
    if not faults[0]["loc"]:
        raise InvalidRequest([FieldError("(body)", "must be a JSON object")])
    wrong = {fault["loc"][0] for fault in faults}
    sound = {name: value for name, value in from_json(body).items() if name not in wrong}
    errors = dict.fromkeys(map(_field_error, faults))  # a thousand unknown fields are one mistake
    return GenerateRequest.model_validate(sound), list(errors)


def _field_error(fault: Mapping[str, Any]) -> FieldError:
    """What is wrong with one field; of what was sent it repeats numbers alone, and no unknown name."""
    field = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return _unknown(field)
    message = str(fault["msg"]).replace("Input should be", "must be")
    sent = fault["input"]
    if type(sent) in (int, float):
        message = f"is {_short(sent)}; {message}"
    return FieldError(field, message)


def _unknown(field: str) -> FieldError:
    names = [spellings(name, info) for name, info in GenerateRequest.model_fields.items()]
    for first, *others in names:
        if field in others:
            return FieldError(field, f"is another spelling of {first}, which is given too: give one of them")
    allowed = ", ".join(" or ".join(each) for each in names)
    return FieldError("(unknown)", f"there is a field of another name; allowed are {allowed}")


def _class_faults(request: GenerateRequest, wrong: set[str]) -> list[FieldError]:
    has_id = request.class_id is not None or "class_id" in wrong
    has_name = request.class_name is not None or "class" in wrong
    if has_id and has_name:
        return [FieldError("class", "class_id and class are both given: give one of them")]
    return [] if has_id or has_name else [FieldError("class_id", "class_id or class is required")]


def _class_id(request: GenerateRequest, model: ModelInfo) -> int | FieldError | None:
    """The class that is meant, or why none is; None if none was given."""
    name = request.class_name
    if name is None:
        return request.class_id
    if not model.labels:
        return FieldError("class", f"the classes of {model.name} have no names: give class_id")
    try:
        return Labels(model.labels).lookup(name)
    except ValueError as error:
        return FieldError("class", str(error).replace(repr(name), "this"))


def _with_default_scale(request: GenerateRequest, model: ModelInfo) -> GenerateRequest:
    """The request with the model's own guidance scale where it names none."""
    if "guidance_scale" in request.model_fields_set:
        return request
    return request.model_copy(update={"guidance_scale": model.default_guidance_scale})


def _limits(request: GenerateRequest, class_id: int | FieldError | None, model: ModelInfo) -> Iterator[FieldError]:
    """What the model cannot do of what is asked."""
    if isinstance(class_id, FieldError):
        yield class_id
    elif class_id is not None and class_id >= model.num_classes:
        text = f"is {_short(class_id)}; {model.name} has classes 0 to {model.num_classes - 1}"
        yield FieldError("class_id", text)
    if request.steps > model.max_steps:
        yield FieldError("steps", f"is {_short(request.steps)}; {model.name} takes 1 to {model.max_steps}")
    if fault := guidance_fault(model, request.guidance_scale):
        yield FieldError("cfg", fault)
    if request.sampler is not None and request.sampler not in model.samplers:
        yield FieldError("sampler", f"must be one of {', '.join(model.samplers)}")


def _seeds(request: GenerateRequest) -> list[int]:
    if request.seed is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(request.n)]
    return [(request.seed + k) % (MAX_SEED + 1) for k in range(request.n)]


def _short(number: float) -> str:
    text = str(number)
    return text if len(text) <= 24 else f"{text[:20]}… ({len(text)} digits)"
