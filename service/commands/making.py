"""What the commands that make images share: their flags for the model, and the loop over the door.

Knows no HTTP and no process: the model runs in this one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from dit_serve.service.engine.engine import Door
from dit_serve.service.errors import CommandError
from dit_serve.service.wire.job import Job
from dit_serve.service.wire.messages import Configure, ModelInfo
from dit_serve.service.workers.door import load


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose a model and where it runs."""
    parser.add_argument("--vae", help="folder or hub id of the autoencoder, for checkpoints that bring none")
    parser.add_argument("--device", help="cuda, cuda:N, mps or cpu; default the best one present")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; default by device")


def load_model(model: str, options: argparse.Namespace) -> tuple[ModelInfo, Door]:
    """Loads a model with the flags of `add_model_arguments`.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to do.
    """
    configure = Configure(
        models=(model,),
        vae=options.vae,
        device=options.device,
        dtype=options.dtype,
        max_batch_sequences=0,
        fill_across_guidance=True,
    )
    return load(model, configure)


def make_images(door: Door, jobs: Sequence[Job], on_step: Callable[[int], None]) -> Sequence[Any]:
    """The pixels of these jobs, made in one batch.

    Args:
        door: the model.
        jobs: all with the same number of steps.
        on_step: told after each step how many images took it.

    Raises:
        CommandError: the model cannot do what a job asks.
    """
    try:
        samples = [door.begin(job) for job in jobs]
    except ValueError as error:
        raise CommandError(str(error)) from error
    while not samples[0].is_done:
        door.step(samples)
        on_step(len(samples))
    return door.decode(samples)
