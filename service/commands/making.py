"""What the commands that make images share: their flags for the model, and the loop over the pipeline.

Knows no HTTP and no process: the model runs in this one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from dit_serve.models.options import ModelOptions, SampleSpec
from dit_serve.models.pipeline import Pipeline, load_pipeline
from dit_serve.models.sampling.decoding import Pixels
from dit_serve.service.errors import CommandError


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose a model and where it runs."""
    parser.add_argument("--vae", help="folder or hub id of the autoencoder, for checkpoints that bring none")
    parser.add_argument("--device", help="cuda, cuda:N, mps or cpu; default the best one present")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; default by device")


def load_model(model: str, options: argparse.Namespace) -> Pipeline:
    """Loads a model with the flags of `add_model_arguments`.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to do.
    """
    return load_pipeline(model, ModelOptions(vae=options.vae, device=options.device, dtype=options.dtype))


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
