"""Makes images without a server: dit generate --class "golden retriever" --seed 0 -n 4 --out pictures

Each PNG carries its receipt; `dit repro FILE` makes it again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.progress import Progress

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.making import MODEL_HELP, load_model, make_images
from dit_serve.service.errors import CommandError, FieldError, InvalidRequest
from dit_serve.service.http.reading import Form, choose, make_jobs, read_form
from dit_serve.service.image.png import encode_png
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.settings import MAX_IMAGES_PER_REQUEST
from dit_serve.service.version import version

IMAGES_AT_ONCE = 8
FIELDS = ("class_id", "class", "cfg", "steps", "seed", "sampler")  # of the request, that are flags as they are


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The request's fields as flags, the model, and where the images go."""
    parser.add_argument("--model", default="digits-64", help=f"{MODEL_HELP}; default %(default)s")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--class-id", type=int, help="which class, by number")
    what.add_argument("--class", help="which class, by one of its names")
    parser.add_argument("--cfg", type=float, help="guidance scale, 1 to 20; default 4, or 1 where there is no guidance")
    parser.add_argument("--steps", type=int, help="denoising steps; default 50")
    parser.add_argument("--seed", type=int, help="of the first image, the next has one more; default drawn for each")
    parser.add_argument("--sampler", help="ddim, ddpm or dpm++; default ddim")
    parser.add_argument("-n", type=int, default=1, help="number of images; default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the PNGs; default the present one")
    add_flags(parser, ModelOptions)


def run(options: argparse.Namespace) -> int:
    """Makes the images and prints their paths."""
    form = _form(options)
    model, pipeline = load_model(options.model, read_config(ModelOptions, options))
    specs = _specs(form, options.n, model)
    options.out.mkdir(parents=True, exist_ok=True)
    with Progress(transient=True) as progress:
        task = progress.add_task("denoising", total=len(specs) * form.request.steps)
        for first in range(0, len(specs), IMAGES_AT_ONCE):
            batch = specs[first : first + IMAGES_AT_ONCE]
            images = make_images(pipeline, batch, lambda count: progress.advance(task, count))
            for spec, pixels in zip(batch, images, strict=True):
                path = options.out / file_name(spec, model)
                path.write_bytes(encode_png(pixels, make_receipt(spec, model, version()).to_chunks()))
                progress.console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def file_name(spec: SampleSpec, model: ModelInfo) -> str:
    """A name that tells class and seed, such as class-207-golden-retriever-seed-0.png."""
    words = re.sub(r"[^a-z0-9]+", "-", model.class_name(spec.class_id).lower()).strip("-")
    return "-".join(filter(None, ("class", str(spec.class_id), words, "seed", str(spec.seed)))) + ".png"


def _form(options: argparse.Namespace) -> Form:
    """What a client would ask for with these flags; of many images, for as many as a client may.

    Raises:
        CommandError: no client could, of whatever model.
    """
    given = {name: value for name in FIELDS if (value := getattr(options, name)) is not None}
    body = {**given, "n": min(options.n, MAX_IMAGES_PER_REQUEST)}
    form = read_form(json.dumps(body).encode())
    if form.faults:
        raise _of_flags(form.faults)
    return form


def _specs(form: Form, count: int, model: ModelInfo) -> list[SampleSpec]:
    """One for each image.

    Raises:
        CommandError: the model cannot make them.
    """
    try:
        wanted = choose(form, {model.name: model})
    except InvalidRequest as error:
        raise _of_flags(error.errors) from error
    wanted = replace(wanted, request=wanted.request.model_copy(update={"n": count}))
    return [job.spec for job in make_jobs(wanted, "", itertools.count().__next__)]


def _of_flags(faults: Iterable[FieldError]) -> CommandError:
    """The same in words for the command line."""
    return CommandError("; ".join(map(_sentence, faults)))


def _sentence(fault: FieldError) -> str:
    flag = "-n" if fault.field == "n" else f"--{fault.field.replace('_', '-')}"
    return f"{flag}{' ' if fault.message.startswith(('is ', 'must ')) else ': '}{fault.message}"
