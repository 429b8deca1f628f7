"""Makes an image again from the receipt in its PNG, and compares the pixels.

Exit status 0: equal. 1: different, and by how much is printed. 2: it could not be tried.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.making import MODEL_HELP, load_model, make_images
from dit_serve.service.errors import CommandError
from dit_serve.service.image.png import read_png
from dit_serve.service.image.receipt import Receipt
from dit_serve.service.version import version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The image, and the model if its receipt does not say enough."""
    parser.add_argument("image", type=Path, help="a PNG that this service made")
    parser.add_argument("--model", help=f"{MODEL_HELP}; default what the receipt names")
    add_flags(parser, ModelOptions)


def run(options: argparse.Namespace) -> int:
    """Makes the image again; 0 if every pixel is equal."""
    try:
        data = options.image.read_bytes()
    except OSError as error:
        raise CommandError(f"{options.image}: {error.strerror}") from None
    image, receipt = read_png(data)
    chosen = read_config(ModelOptions, options)
    try:
        chosen = replace(
            chosen,
            dtype=chosen.dtype or receipt.dtype,
            vae=chosen.vae or receipt.vae or None,
            precision=chosen.precision or receipt.precision or None,
            weights=chosen.weights or receipt.weights or None,
        )
    except ValueError as error:
        raise CommandError(f"the receipt cannot be followed: {error}") from error
    model, pipeline = load_model(options.model or receipt.model, chosen)
    _check_same_model(receipt, model)
    with Progress(transient=True) as progress:
        task = progress.add_task("denoising", total=receipt.steps)
        (again,) = make_images(pipeline, [_spec(receipt)], lambda count: progress.advance(task, count))
    return _compare(np.asarray(image), np.asarray(again), receipt)


def _spec(receipt: Receipt) -> SampleSpec:
    return SampleSpec(
        class_id=receipt.class_id,
        seed=receipt.seed,
        steps=receipt.steps,
        guidance_scale=receipt.cfg,
        sampler=receipt.sampler,
    )


def _check_same_model(receipt: Receipt, model: ModelInfo) -> None:
    if model.sha256 != receipt.weights_sha256:
        raise CommandError(
            f"the image was made by {receipt.model} with weights {receipt.weights_sha256[:16]}…, "
            f"and {model.name} has weights {model.sha256[:16]}…; name the right one with --model"
        )
    if model.weights != receipt.weights and (receipt.weights or model.weights == "model"):  # older ones do not say ema
        raise CommandError(
            f"the image was made with the {receipt.weights or 'only'} weights of {receipt.model}, "
            f"and {model.name} was loaded with its {model.weights or 'only'} ones; leave out --weights"
        )
    if (model.guidance_channels, model.resolution) != (receipt.guidance_channels, receipt.resolution):
        raise CommandError(
            f"the image has {receipt.resolution} pixels and {receipt.guidance_channels} guided channels, "
            f"{model.name} makes {model.resolution} pixels with {model.guidance_channels}"
        )


def _compare(before: np.ndarray, again: np.ndarray, receipt: Receipt) -> int:
    """Says what the comparison found.

    Args:
        before, again: (H, W, 3) uint8.
        receipt: of the image, to tell of another version.
    """
    if before.shape != again.shape:
        raise CommandError(f"the image is {before.shape[:2]} pixels large, its receipt says {again.shape[:2]}")
    difference = np.abs(before.astype(np.int16) - again.astype(np.int16))
    count = int(difference.any(axis=2).sum())
    if count == 0:
        print(f"equal: all {before.shape[0] * before.shape[1]} pixels")
        return 0
    print(f"different: {count} of {before.shape[0] * before.shape[1]} pixels, by {difference.max()} of 255 at most")
    if receipt.version != version():
        print(f"the image was made by version {receipt.version}, this is {version()}")
    return 1
