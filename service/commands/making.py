"""What the commands that make images share: how the model is named and loaded, and the loop over the pipeline.

Knows no HTTP and no process: the model runs in this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec, split_name
from dit_serve.models.pipeline import Pipeline, load_pipeline
from dit_serve.models.sampling.decoding import Pixels
from dit_serve.service.errors import CommandError

MODEL_HELP = "demo name, folder, file or hub id, or NAME=CHECKPOINT to call it otherwise"


def load_model(model: str, options: ModelOptions) -> tuple[ModelInfo, Pipeline]:
    """A model, and what it says of itself under the name that it was given.

    Args:
        model: as `--model` takes it.
        options: how it is loaded and run.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to do.
    """
    given, path = split_name(model)
    pipeline = load_pipeline(path, options)
    return replace(pipeline.info, name=given or pipeline.info.name), pipeline


def make_images(pipeline: Pipeline, specs: Sequence[SampleSpec], on_step: Callable[[int], None]) -> Sequence[Pixels]:
    """The pixels of these images, made in one batch.

    Args:
        pipeline: the model.
        specs: all with the same number of steps.
        on_step: told after each step how many images took it.

    Raises:
        CommandError: the model cannot do what one asks.
    """
    try:
        samples = [pipeline.begin(spec) for spec in specs]
    except ValueError as error:
        raise CommandError(str(error)) from error
    while not samples[0].is_done:
        pipeline.step(samples)
        on_step(len(samples))
    return pipeline.decode(samples)
