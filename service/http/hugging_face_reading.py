"""From the body of Hugging Face's text-to-image task to a request of ours.

    {"inputs": "golden retriever", "parameters": {"height": 64, "width": 64, "scheduler": "DDIMScheduler", …}}

`parameters` is the body of POST /generate with what the task has besides; `inputs` says the class in words. All faults
are told at once, each under the name that was sent. Knows no HTTP beyond the body and one header, and no front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.faults import MAX_COMPARED, Members, read_members
from dit_serve.service.http.prompts import class_or_fault
from dit_serve.service.http.reading import (
    Form,
    Wanted,
    besides,
    choose,
    class_faults,
    class_in,
    read_fields,
    read_part,
)
from dit_serve.service.http.schemas import GenerateRequest, document_spellings, spellings, whole

EXAMPLE = '{"inputs": "golden retriever"}'
INPUTS, PARAMETERS, OPTIONS = "inputs", "parameters", "options"
SIDES = ("width", "height", "resolution")  # of a square: all names of one number
TARGET = "target_size"
NAMED = {"class_id": {"type": "integer"}, "class": {"type": "string"}}
# What diffusers' classes are called here; with their usual settings they are these update rules.
SCHEDULERS = {"DDIMScheduler": "ddim", "DDPMScheduler": "ddpm", "DPMSolverMultistepScheduler": "dpm++"}


def _document_parameters(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Adds to the JSON schema what the fields' types do not say."""
    side = {"type": "integer", "minimum": 1}
    size = {"type": "object", "properties": {"width": side, "height": side}, "additionalProperties": False}
    schema["properties"][TARGET] |= {"anyOf": [size, {"type": "null"}]}
    schema["not"] = {"required": [*NAMED], "properties": NAMED}
    document_spellings(schema, kind)


class TextToImageParameters(GenerateRequest):
    """`parameters`: what POST /generate takes, and what the task has besides. A null is as if it were not there."""

    model_config = ConfigDict(json_schema_extra=_document_parameters)

    sampler: str | None = Field(
        default=None, max_length=32, validation_alias=AliasChoices("sampler", "scheduler"),
        description=f"ddim (the default), ddpm or dpm++; or the class of diffusers: {', '.join(SCHEDULERS)}.",
    )
    width: int | None = Field(default=None, ge=1, description="Side in pixels, as `resolution`: images are square.")
    height: int | None = Field(default=None, ge=1, description="The same.")
    target_size: dict[str, Any] | None = Field(default=None, description="`width` and `height` in an object.")
    negative_prompt: Annotated[Any, WithJsonSchema({"type": "string", "maxLength": 0})] = Field(
        default=None, description="Nothing but an empty text: a class is all that an image is made of."
    )

    @field_validator("width", "height", mode="before")
    @classmethod
    def _whole_side(cls, value: object) -> object:
        return whole(value)

    @field_validator("sampler", mode="before")
    @classmethod
    def _our_sampler(cls, value: object) -> object:
        return SCHEDULERS.get(value, value) if isinstance(value, str) else value


class TextToImageOptions(BaseModel):
    """`options`, as older clients send it: without effect. A model that is loading is 503, and nothing is cached."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    wait_for_model: bool | None = None
    use_cache: bool | None = None
    use_gpu: bool | None = None


def _document(schema: dict[str, Any]) -> None:
    """Says that there must be a class, in words or among the parameters; null is as good as none."""
    named = [{"required": [name], "properties": {name: kind}} for name, kind in NAMED.items()]
    in_words = {"required": [INPUTS], "properties": {INPUTS: {"type": "string"}}}
    by_parameter = {"required": [PARAMETERS], "properties": {PARAMETERS: {"type": "object", "anyOf": named}}}
    schema["anyOf"] = [in_words, by_parameter]
    schema["examples"] = [{INPUTS: "golden retriever", PARAMETERS: {"guidance_scale": 4, "seed": 5}}]


class TextToImageRequest(BaseModel):
    """The body of the task."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_document)

    inputs: str | None = Field(
        default=None, max_length=1000,
        description="The class to draw, by one of its names or its id; not needed beside `parameters.class_id`.",
    )
    parameters: Annotated[dict[str, Any], WithJsonSchema(TextToImageParameters.model_json_schema())] | None = None
    options: Annotated[dict[str, Any], WithJsonSchema(TextToImageOptions.model_json_schema())] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A request of the task as it was sent.

    Args:
        inputs: the class in words, None if it does not say.
        form: what `parameters` say, and the deadline.
        sent: the names in `parameters`.
        faults: what is wrong beside `parameters`.
    """

    inputs: str | None
    form: Form
    sent: tuple[str, ...]
    faults: tuple[FieldError, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it, whatever the model."""
        return not (self.faults or self.form.faults)


def read_task(body: bytes, deadlines: Sequence[str] = ()) -> Task:
    """The request in a body.

    Args:
        body: as sent.
        deadlines: every X-Deadline-Ms header.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no object.
    """
    request, faults = read_fields(TextToImageRequest, body, EXAMPLE)
    members = read_members(body)
    given = _given(request.parameters or {})
    parameters, wrong = _parameters(given, _part(members, PARAMETERS))
    options = request.options or {}
    _, wrong_options = read_part(TextToImageOptions, options, _part(members, OPTIONS), MAX_COMPARED)
    faults += [FieldError(f"{OPTIONS}.{fault.field}", fault.message) for fault in wrong_options]
    has_class = bool({"class_id", "class"} & given.keys())
    if request.inputs is None and not has_class and INPUTS not in {fault.field for fault in faults}:
        faults.append(FieldError(INPUTS, "is required: the class to draw, in words; or parameters.class_id"))
    deadline_ms, wrong_deadline = read_deadline(deadlines, parameters.deadline_ms)
    faults += wrong_deadline
    return Task(request.inputs, Form(parameters, deadline_ms, tuple(wrong)), tuple(given), tuple(faults))


def without_other_name(task: Task) -> Task:
    """The task of a path that names the model, with one fault more if its parameters name one too."""
    if task.form.request.model is None:
        return task
    fault = FieldError("model", "the path names the model already: leave it out")
    return replace(task, form=replace(task.form, faults=(*task.form.faults, fault)))


def choose_for(task: Task, models: Mapping[str, ModelInfo], *, by_phrase: bool) -> Wanted:
    """The model that a task is for, and its class there.

    Args:
        task: the request.
        models: those that it may be for, by name, the default one first.
        by_phrase: see `class_of_prompt`.

    Raises:
        InvalidRequest: with all that is wrong with the task, its model and what it asks of it.
    """

    def class_of(request: GenerateRequest, model: ModelInfo) -> int | FieldError | None:
        if task.inputs is None or request.class_id is not None or request.class_name is not None:
            return class_in(request, model)
        return class_or_fault(INPUTS, task.inputs, model, by_phrase=by_phrase)

    try:
        wanted = choose(task.form, models, class_of)
    except InvalidRequest as error:
        raise InvalidRequest([*task.faults, *(_as_sent(fault, task.sent) for fault in error.errors)]) from None
    if task.faults:
        raise InvalidRequest(list(task.faults))
    return wanted


def _part(members: Members, name: str) -> Members:
    """An object in the body, which knows what it has more than once."""
    part = members.get(name)
    return part if isinstance(part, Members) else Members()


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters that say something, with the sides of a target size in its place."""
    given = {name: value for name, value in parameters.items() if value is not None}
    target = given.get(TARGET)
    if isinstance(target, dict) and target.keys() <= {*SIDES[:2]} - given.keys():
        del given[TARGET]
        given |= target
    return given


def _parameters(given: Mapping[str, Any], members: Members) -> tuple[TextToImageParameters, list[FieldError]]:
    """The parameters with their side under its own name, and what is wrong with them."""
    parameters, faults = read_part(TextToImageParameters, given, members, MAX_COMPARED)
    wrong = {fault.field for fault in faults}
    if {"class_id", "class"} & given.keys():
        faults += besides(faults, class_faults(parameters, wrong))
    sides = {name: side for name in SIDES if (side := getattr(parameters, name)) is not None}
    faults += besides(faults, _further_faults(parameters, sides))
    return parameters.model_copy(update={"resolution": next(iter(sides.values()), None)}), faults


def _further_faults(parameters: TextToImageParameters, sides: Mapping[str, int]) -> Iterator[FieldError]:
    first, *others = sides or [""]
    for name in others:
        if sides[name] != sides[first]:
            yield FieldError(name, f"is {sides[name]}, and {first} is {sides[first]}: images are square")
    if parameters.target_size is not None:
        yield FieldError(TARGET, "must be an object of width and height, which are then not given beside it")
    if parameters.negative_prompt not in (None, "", [], [""]):
        yield FieldError("negative_prompt", "there is none: a class is all that an image is made of; leave it out")


def _as_sent(fault: FieldError, sent: Sequence[str]) -> FieldError:
    """The fault of a parameter under the name by which that was sent, and where it was."""
    if fault.field in (INPUTS, DEADLINE_HEADER):
        return fault
    spelled = (spellings(name, field) for name, field in TextToImageParameters.model_fields.items())
    names = SIDES if fault.field == "resolution" else next((each for each in spelled if fault.field in each), ())
    named = next((name for name in (fault.field, *names) if name in sent), fault.field)
    return FieldError(f"{PARAMETERS}.{named}", fault.message)
