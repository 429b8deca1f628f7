"""What the commands that make images share: how the model is named and loaded, what may be asked of it, and the loop.

Knows no HTTP and no process: the model runs in this one. torch is imported when a model is loaded, so that what cannot
be made is refused before.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec, split_name
from dit_serve.service.errors import CommandError, FieldError, InvalidRequest, MalformedBody
from dit_serve.service.http.reading import Form, choose, make_jobs, read_form
from dit_serve.service.settings import MAX_IMAGES_PER_REQUEST

if TYPE_CHECKING:
    from dit_serve.models.pipeline import Pipeline
    from dit_serve.models.sampling.decoding import Pixels

MODEL_HELP = "demo name, folder, file or hub id, or NAME=CHECKPOINT to call it otherwise"

Told = Callable[[FieldError], str]


def load_model(model: str, options: ModelOptions) -> tuple[ModelInfo, Pipeline]:
    """A model, and what it says of itself under the name that it was given.

    Args:
        model: as `--model` takes it.
        options: how it is loaded and run.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to do.
    """
    from dit_serve.models.pipeline import load_pipeline

    given, path = split_name(model)
    pipeline = load_pipeline(path, options)
    return replace(pipeline.info, name=given or pipeline.info.name), pipeline


def read_fields(fields: Mapping[str, object], count: int, told: Told) -> Form:
    """What a client would ask for with these fields; of many images, for as many as a client may.

    Args:
        fields: of the request, by their names on the wire.
        count: of images.
        told: a wrong field in words.

    Raises:
        CommandError: no client could, of whatever model.
    """
    body = {**fields, "n": min(count, MAX_IMAGES_PER_REQUEST)}
    try:
        form = read_form(json.dumps(body).encode())
    except (MalformedBody, InvalidRequest) as error:  # a text with bytes that are none
        raise CommandError(f"a value is no text in UTF-8: {error}") from error
    if form.faults:
        raise CommandError("; ".join(map(told, form.faults)))
    return form


def make_specs(form: Form, count: int, model: ModelInfo, told: Told) -> list[SampleSpec]:
    """One for each image.

    Args:
        form: as it was read.
        count: of images.
        model: that shall make them.
        told: a wrong field in words.

    Raises:
        CommandError: the model cannot.
    """
    try:
        wanted = choose(form, {model.name: model})
    except InvalidRequest as error:
        raise CommandError("; ".join(map(told, error.errors))) from error
    wanted = replace(wanted, request=wanted.request.model_copy(update={"n": count}))
    return [job.spec for job in make_jobs(wanted, "", itertools.count().__next__)]


def make_images(pipeline: Pipeline, specs: Sequence[SampleSpec], on_step: Callable[[int], None]) -> Sequence[Pixels]:
    """The pixels of these images, made in one batch.

    Args:
        pipeline: the model.
        specs: all with the same number of steps.
        on_step: told after each step how many images took it.

    Raises:
        CommandError: the model cannot do what one asks, or what it makes is no image.
    """
    try:
        samples = [pipeline.begin(spec) for spec in specs]
    except ValueError as error:
        raise CommandError(str(error)) from error
    while not samples[0].is_done:
        pipeline.step(samples)
        on_step(len(samples))
    try:
        return pipeline.decode(samples)
    except FloatingPointError as error:
        raise CommandError(
            "an image is not finite: the weights or the noise schedule are not those of a trained model, or float16 is "
            "too narrow for it (--dtype)"
        ) from error
