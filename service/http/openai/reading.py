"""From the body of POST /v1/images/generations to a request of ours: reads, checks, tells all faults at once.

Each is told under the name that its field has in this API: `size` for a resolution, `prompt` for a class. A model that
is not loaded is another kind of problem there, and told before all faults. Knows no HTTP beyond the body and one
header, and no front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.openai.pictures import PictureStyle
from dit_serve.service.http.openai.schemas import EXAMPLE, ImagesRequest, side_of, written_size
from dit_serve.service.http.prompts import class_or_fault
from dit_serve.service.http.reading import Form, Wanted, besides, choose, model_named, read_fields
from dit_serve.service.http.schemas import GenerateRequest
from dit_serve.service.image.convert import BEST_QUALITY

_SHARED = ("class_id", "seed", "model", "sampler", "deadline_ms")  # fields of one name and meaning in both requests


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for images as it was sent.

    Args:
        form: what the images are to be, but for the class.
        prompt: names the class; None where `class_id` counts.
        style: how the images are given.
        is_stream: whether they are told as they come about.
        partial_images: looks at each image on its way.
    """

    form: Form
    prompt: str | None
    style: PictureStyle
    is_stream: bool
    partial_images: int


def read_images(body: bytes, deadlines: Sequence[str] = ()) -> Asked:
    """The request in a body.

    Args:
        body: as sent.
        deadlines: every X-Deadline-Ms header.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: it is JSON, but no object.
    """
    sent, faults = read_fields(ImagesRequest, body, EXAMPLE)
    faults += besides(faults, _contradictions(sent, {fault.field for fault in faults}))
    deadline_ms, wrong_deadline = read_deadline(deadlines, sent.deadline_ms)
    faults += wrong_deadline
    return Asked(
        Form(_as_ours(sent), deadline_ms, tuple(faults)),
        prompt=sent.prompt if sent.class_id is None else None,
        style=PictureStyle.of(sent),
        is_stream=bool(sent.stream),
        partial_images=(sent.partial_images or 0) if sent.stream else 0,
    )


def choose_images(asked: Asked, models: Mapping[str, ModelInfo], *, by_phrase: bool) -> Wanted:
    """The model that makes the images, and their class.

    Args:
        asked: the request.
        models: what is loaded, by all names that may be given, the default one first.
        by_phrase: whether a prompt may be text with a class's name in it.

    Raises:
        ModelNotFound: no model has the name that is given.
        InvalidRequest: with all that is wrong with the request, its model and what it asks of it.
    """
    name = asked.form.request.model
    if name is not None and models:
        model_named(name, models)

    def class_of(request: GenerateRequest, model: ModelInfo) -> int | FieldError | None:
        if asked.prompt is None:
            return request.class_id
        return class_or_fault("prompt", asked.prompt, model, by_phrase=by_phrase)

    try:
        wanted = choose(asked.form, models, class_of)
    except InvalidRequest as error:
        named = [models[name]] if name is not None and name in models else models.values()
        raise InvalidRequest([_in_our_words(fault, asked.form.request, named) for fault in error.errors]) from None
    return _with_previews(wanted, asked.partial_images)


def _contradictions(sent: ImagesRequest, wrong: set[str]) -> list[FieldError]:
    """What is wrong between fields."""
    faults = []
    if sent.prompt is None and sent.class_id is None and not wrong & {"prompt", "class_id"}:
        faults.append(FieldError("prompt", f"is required, as in {EXAMPLE}: a class by its name or id; or class_id"))
    is_png = sent.output_format in (None, "png") and "output_format" not in wrong
    if is_png and sent.output_compression not in (None, BEST_QUALITY):
        text = f"is {sent.output_compression}; a png is exact: leave it out, or ask for webp or jpeg by output_format"
        faults.append(FieldError("output_compression", text))
    return faults


def _as_ours(sent: ImagesRequest) -> GenerateRequest:
    """The request as POST /generate would have it; its bounds are the same."""
    fields = {name: value for name in _SHARED if (value := getattr(sent, name)) is not None}
    fields |= {"n": sent.n or 1, "resolution": side_of(sent.size), "steps": sent.steps}
    if "guidance_scale" in sent.model_fields_set:  # else it is the model's own
        fields["cfg"] = sent.guidance_scale
    return GenerateRequest.model_validate(fields)


def _in_our_words(fault: FieldError, request: GenerateRequest, models: Iterable[ModelInfo]) -> FieldError:
    if fault.field != "resolution" or request.resolution is None:
        return fault
    made = dict.fromkeys(f"{written_size(model.resolution)} ({model.name})" for model in models)
    return FieldError("size", f"is {written_size(request.resolution)}; there is {', '.join(made)}")


def _with_previews(wanted: Wanted, partial_images: int) -> Wanted:
    """The same with looks at even distances; of those that are taken no more are told than were asked for."""
    if partial_images == 0:
        return wanted
    every = max(1, wanted.request.steps // (partial_images + 1))
    return replace(wanted, request=wanted.request.model_copy(update={"preview_every": every}))
