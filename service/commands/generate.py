"""Makes images without a server: dit generate --class "golden retriever" --seed 0 -n 4 --out pictures

Each PNG carries its receipt; `dit repro FILE` makes it again.
"""

from __future__ import annotations

import argparse
import re
import secrets
from pathlib import Path

from rich.progress import Progress

from dit_serve.models.labels import Labels
from dit_serve.models.options import DEFAULT_SAMPLER, ModelInfo, SampleSpec
from dit_serve.service.commands.making import add_model_arguments, load_model, make_images
from dit_serve.service.errors import CommandError
from dit_serve.service.http.schemas import MAX_SEED
from dit_serve.service.image.png import encode_png
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.version import version

IMAGES_AT_ONCE = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The request's fields as flags, the model, and where the images go."""
    parser.add_argument("--model", default="digits-64", help="demo name, folder, file or hub id; default %(default)s")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--class-id", type=int, help="which class, by number")
    what.add_argument("--class", dest="class_name", help="which class, by one of its names")
    parser.add_argument("--cfg", type=float, default=4.0, help="guidance scale, 1 to 20; default %(default)s")
    parser.add_argument("--steps", type=int, default=50, help="denoising steps; default %(default)s")
    parser.add_argument("--seed", type=int, help="of the first image, the next has one more; drawn if absent")
    parser.add_argument("--sampler", default=DEFAULT_SAMPLER, help="ddim, ddpm or dpm++; default %(default)s")
    parser.add_argument("-n", type=int, default=1, help="number of images; default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the PNGs; default the present one")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Makes the images and prints their paths."""
    _check(options)
    pipeline = load_model(options.model, options)
    model, specs = pipeline.info, _specs(options, pipeline.info)
    options.out.mkdir(parents=True, exist_ok=True)
    with Progress(transient=True) as progress:
        task = progress.add_task("denoising", total=options.n * options.steps)
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


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.cfg <= 20:
        raise CommandError(f"--cfg is {options.cfg}; allowed is 1 to 20")
    if options.steps < 1:
        raise CommandError(f"--steps is {options.steps}; it must be at least 1")
    if options.n < 1:
        raise CommandError(f"-n is {options.n}; it must be at least 1")
    if options.seed is not None and not 0 <= options.seed <= MAX_SEED:
        raise CommandError(f"--seed is {options.seed}; allowed is 0 to {MAX_SEED}")


def _specs(options: argparse.Namespace, model: ModelInfo) -> list[SampleSpec]:
    class_id = _class_id(options, model)
    if options.steps > model.max_steps:
        raise CommandError(f"--steps is {options.steps}; {model.name} takes 1 to {model.max_steps}")
    if options.sampler not in model.samplers:
        raise CommandError(f"--sampler is {options.sampler!r}; {model.name} has {', '.join(model.samplers)}")
    first = secrets.randbelow(MAX_SEED + 1) if options.seed is None else options.seed
    seeds = [(first + k) % (MAX_SEED + 1) for k in range(options.n)]
    return [SampleSpec(class_id, seed, options.steps, options.cfg, options.sampler) for seed in seeds]


def _class_id(options: argparse.Namespace, model: ModelInfo) -> int:
    if options.class_name is None:
        if not 0 <= options.class_id < model.num_classes:
            last = model.num_classes - 1
            raise CommandError(f"--class-id is {options.class_id}; {model.name} has classes 0 to {last}")
        return int(options.class_id)
    try:
        return Labels(model.labels).lookup(options.class_name)
    except ValueError as error:
        raise CommandError(str(error)) from error
