"""Makes an image again from the receipt in its PNG, and compares the pixels.

Without --model the model is found by the SHA-256 of its weights, among the demos and what was opened on this machine
before. Anybody can write a receipt: no path in it is opened, no hub is asked for what it names, and its values are
checked before torch is imported.

Exit status 0: equal. 1: different, and by how much is printed. 2: it could not be tried.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dit_serve.models.errors import CheckpointError, printable
from dit_serve.models.options import DEFAULT_VAE, NUMBER_FORMATS, ModelInfo, ModelOptions, expanded, split_name
from dit_serve.models.progress import progress_bar
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.destination import read_regular
from dit_serve.service.commands.making import MODEL_HELP, load_model, make_images, make_specs, read_fields
from dit_serve.service.commands.terminal import quoted
from dit_serve.service.errors import CommandError, FieldError, ReceiptError
from dit_serve.service.image.png import read_png
from dit_serve.service.image.receipt import Receipt
from dit_serve.service.version import version

MAX_BYTES = 64 << 20  # of a PNG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The image, and the model if it is not known here."""
    parser.add_argument("image", help="a PNG that this service made")
    parser.add_argument("--model", help=f"{MODEL_HELP}; default the one on this machine with the receipt's SHA-256")
    add_flags(parser, ModelOptions)


def run(options: argparse.Namespace) -> int:
    """Makes the image again; 0 if every pixel is equal."""
    path = Path(expanded(options.image))
    try:
        image, receipt = read_png(read_regular(path, MAX_BYTES))
    except ReceiptError as error:
        raise CommandError(f"{path}: {error}") from error
    if image.size != (receipt.resolution,) * 2:
        size = f"{image.size[0]} x {image.size[1]} pixels"
        raise CommandError(f"{path}: has {size}, and its receipt says {quoted(receipt.resolution)} a side")
    fields = ("class_id", "cfg", "steps", "seed", "sampler")
    form = read_fields({name: getattr(receipt, name) for name in fields}, 1, _sentence)
    chosen = _options(receipt, read_config(ModelOptions, options), options.model)
    place = options.model or _known_model(receipt)
    autoencoder = chosen.vae or _unasked_autoencoder(receipt, place, chosen)
    model, pipeline = load_model(place, replace(chosen, vae=autoencoder))
    if chosen.vae is None and autoencoder is not None:
        model = replace(model, vae=DEFAULT_VAE)  # not as the folder of the hub's cache is called
    _check_same_model(receipt, model)
    specs = make_specs(form, 1, model, _sentence)
    with progress_bar() as progress:
        task = progress.add_task("denoising", total=receipt.steps)
        (again,) = make_images(pipeline, specs, partial(progress.advance, task))
    return _compare(np.asarray(image), np.asarray(again), receipt, model)


def _known_model(receipt: Receipt) -> str:
    """The checkpoint on this machine that made the image, whatever the receipt calls it.

    Raises:
        CommandError: none is known.
    """
    from dit_serve.models.checkpoints.local import find_by_sha256

    found = find_by_sha256(receipt.weights_sha256, receipt.weights or None)
    if found is None:
        raise CommandError(
            f"the image was made by {quoted(receipt.model)} with weights {quoted(receipt.weights_sha256[:16])}…, "
            "and no checkpoint with these was opened on this machine before: give it with --model"
        )
    return str(found)


def _options(receipt: Receipt, given: ModelOptions, model: str | None) -> ModelOptions:
    """The options given, with what the receipt says in the place of those that were not.

    Raises:
        CommandError: the receipt has what is no option, or an autoencoder that it alone names.
    """
    if receipt.vae not in ("", DEFAULT_VAE) and given.vae is None:
        beside = "" if model else " --model CHECKPOINT"
        raise CommandError(
            f"the image was made with the autoencoder {quoted(receipt.vae)}, and none is opened because a receipt "
            f"names it: give{beside} --vae FOLDER"
        )
    if given.dtype is None and receipt.dtype not in NUMBER_FORMATS:
        raise CommandError(f"the receipt's dtype {quoted(receipt.dtype)} is none of {', '.join(NUMBER_FORMATS)}")
    try:
        return replace(
            given,
            dtype=given.dtype or receipt.dtype,
            precision=given.precision or receipt.precision or None,
            weights=given.weights or receipt.weights or None,
        )
    except ValueError as error:
        raise CommandError(f"the receipt cannot be followed: {printable(error, 150)}") from error


def _unasked_autoencoder(receipt: Receipt, place: str, options: ModelOptions) -> str | None:
    """The folder of an autoencoder that nobody named on the command line; None for the checkpoint's own.

    Raises:
        CommandError: it would have to be downloaded.
    """
    from dit_serve.models.checkpoints.checkpoint import open_checkpoint
    from dit_serve.models.checkpoints.hub import fetch_vae
    from dit_serve.models.registry import demo_path

    wanted: Path | str | None = receipt.vae
    if not wanted:
        _, path = split_name(place)
        wanted = open_checkpoint(demo_path(path) or path, weights=options.weights).vae or DEFAULT_VAE
    if isinstance(wanted, Path):
        return None
    try:
        return str(fetch_vae(wanted, is_asked=False))
    except CheckpointError as error:
        raise CommandError(
            f"the autoencoder {quoted(wanted)} is not on this machine, and no hub is asked because of a receipt: "
            f"give it with --vae {printable(wanted, 100)}"
        ) from error


def _check_same_model(receipt: Receipt, model: ModelInfo) -> None:
    if model.sha256 != receipt.weights_sha256:
        raise CommandError(
            f"the image was made by {quoted(receipt.model)} with weights {quoted(receipt.weights_sha256[:16])}…, "
            f"and {model.name} has weights {model.sha256[:16]}…; name the right one with --model"
        )
    if model.weights != receipt.weights and (receipt.weights or model.weights == "model"):  # older ones do not say ema
        raise CommandError(
            f"the image was made with the {receipt.weights or 'only'} weights of {quoted(receipt.model)}, "
            f"and {model.name} was loaded with its {model.weights or 'only'} ones; leave out --weights"
        )
    if (model.guidance_channels, model.resolution) != (receipt.guidance_channels, receipt.resolution):
        raise CommandError(
            f"the image has {receipt.resolution} pixels and {quoted(receipt.guidance_channels)} guided channels, "
            f"{model.name} makes {model.resolution} pixels with {model.guidance_channels}"
        )


def _compare(before: np.ndarray, again: np.ndarray, receipt: Receipt, model: ModelInfo) -> int:
    """Says what the comparison found.

    Args:
        before, again: (H, W, 3) uint8, of the same shape.
        receipt: of the image, to tell of another version or autoencoder.
        model: that made it again.
    """
    difference = np.abs(before.astype(np.int16) - again.astype(np.int16))
    count = int(difference.any(axis=2).sum())
    if count == 0:
        print(f"equal: all {before.shape[0] * before.shape[1]} pixels")
        return 0
    print(f"different: {count} of {before.shape[0] * before.shape[1]} pixels, by {difference.max()} of 255 at most")
    if receipt.version != version():
        print(f"the image was made by version {quoted(receipt.version)}, this is {version()}")
    if receipt.vae != model.vae:
        before_vae, vae = (quoted(name) if name else "the model's own" for name in (receipt.vae, model.vae))
        print(f"the image was made with another autoencoder: {before_vae}, this is {vae}")
    return 1


def _sentence(fault: FieldError) -> str:
    return f"the receipt's {fault.field} {fault.message}"
