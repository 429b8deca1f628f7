"""Makes images without a server: dit generate --class "golden retriever" --seed 0 -n 4 --out pictures

--out is a folder, or for one image a file whose name ends in .png. The paths of the images are printed, one a line.
Each PNG carries its receipt; `dit repro FILE` makes it again.
"""

from __future__ import annotations

import argparse
import re
from functools import partial

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec
from dit_serve.models.progress import progress_bar
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.destination import make_ready, read_destination, write_whole
from dit_serve.service.commands.making import MODEL_HELP, load_model, make_images, make_specs, read_fields
from dit_serve.service.commands.terminal import print_path
from dit_serve.service.errors import FieldError
from dit_serve.service.image.png import encode_png
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.version import version

IMAGES_AT_ONCE = 8
MAX_WORDS = 100  # characters of a class's name in a file's
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
    out_help = "folder for the PNGs, made if need be, or for one image a file, NAME.png; default the present folder"
    parser.add_argument("--out", default=".", help=out_help)
    add_flags(parser, ModelOptions)


def run(options: argparse.Namespace) -> int:
    """Makes the images and prints their paths."""
    form = read_fields(
        {name: value for name in FIELDS if (value := getattr(options, name)) is not None}, options.n, _sentence
    )
    destination = read_destination(options.out, ".png", options.n)
    model, pipeline = load_model(options.model, read_config(ModelOptions, options))
    specs = make_specs(form, options.n, model, _sentence)
    make_ready(destination.folder)
    for first in range(0, len(specs), IMAGES_AT_ONCE):
        batch = specs[first : first + IMAGES_AT_ONCE]
        with progress_bar() as progress:  # gone before a path is printed
            steps = form.request.steps
            task = progress.add_task("denoising", total=len(specs) * steps, completed=first * steps)
            images = make_images(pipeline, batch, partial(progress.advance, task))
        for spec, pixels in zip(batch, images, strict=True):
            path = destination.path(file_name(spec, model))
            write_whole(path, encode_png(pixels, make_receipt(spec, model, version()).to_chunks()))
            print_path(path)
    return 0


def file_name(spec: SampleSpec, model: ModelInfo) -> str:
    """A name that tells class and seed, such as class-207-golden-retriever-seed-0.png."""
    words = re.sub(r"[^a-z0-9]+", "-", model.class_name(spec.class_id).lower())[:MAX_WORDS].strip("-")
    return "-".join(filter(None, ("class", str(spec.class_id), words, "seed", str(spec.seed)))) + ".png"


def _sentence(fault: FieldError) -> str:
    flag = "-n" if fault.field == "n" else f"--{fault.field.replace('_', '-')}"
    return f"{flag}{' ' if fault.message.startswith(('is ', 'must ')) else ': '}{fault.message}"
