"""Measures images against reference images: FID, sFID, Inception score, precision, recall and KID.

    dit evaluate samples.npz VIRTUAL_imagenet256_labeled.npz
    dit evaluate facebook/DiT-XL-2-256 VIRTUAL_imagenet256_labeled.npz --images 50000 --cfg 1.5

SAMPLES and REFERENCE are each an .npz (arr_0 of images, features, or statistics), a folder of PNG, a data set (digits,
fashion, fashion-test), or a model, which makes its images now. docs/evaluation.md says which figures compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dit_serve.models.errors import printable
from dit_serve.models.evaluation.options import NETWORKS, Sampling, Wanted
from dit_serve.models.options import ModelOptions
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.errors import CommandError

if TYPE_CHECKING:
    from dit_serve.models.evaluation.evaluation import Evaluation
    from dit_serve.models.evaluation.sides import Report

FIGURES = {  # by key: its name, its digits after the point, and which way is better
    "fid": ("FID", 2, "lower"),
    "sfid": ("sFID", 2, "lower"),
    "inception_score": ("Inception score", 2, "higher"),
    "precision": ("precision", 4, "higher"),
    "recall": ("recall", 4, "higher"),
    "kid": ("KID", 5, "lower"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two sides, the network that measures, how a model makes its images, and the form of the answer."""
    what = ".npz, folder of PNG, data set (digits, fashion, fashion-test), or model"
    parser.add_argument("samples", metavar="SAMPLES", help=f"what is measured: {what}")
    parser.add_argument("reference", metavar="REFERENCE", help=f"what it is measured against: {what}")
    parser.add_argument("--features", choices=NETWORKS, default="inception", help="network; default %(default)s")
    parser.add_argument(
        "--inception-weights",
        metavar="PATH",
        help="file, URL or hub id of the Inception's weights; default the published ones",
    )
    add_flags(parser, Sampling)
    parser.add_argument(
        "--resolution", type=int, help="crop and scale a folder's pictures, or draw a data set, to this side"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="images the network sees at once; default 32")
    parser.add_argument("--json", action="store_true", help="print one JSON object in the place of a table")
    parser.add_argument("--no-cache", action="store_true", help="measure anew, and keep nothing")
    add_flags(parser, ModelOptions)


def run(options: argparse.Namespace) -> int:
    """Prints the figures; what is to be said of them goes to standard error."""
    from dit_serve.models.evaluation.sides import evaluate

    for flag, value, most in (("--batch-size", options.batch_size, 4096), ("--resolution", options.resolution, 4096)):
        if value is not None and not 1 <= value <= most:
            raise CommandError(f"{flag} must be 1 to {most}, got {value}")
    wanted = Wanted(
        features=options.features,
        inception_weights=options.inception_weights,
        sampling=read_config(Sampling, options),
        model=read_config(ModelOptions, options),
        resolution=options.resolution,
        batch_size=options.batch_size,
        is_cached=not options.no_cache,
    )
    report = evaluate(options.samples, options.reference, wanted)
    for warning in report.evaluation.warnings:
        print(f"dit evaluate: warning: {printable(warning)}", file=sys.stderr)
    if options.json:
        print(json.dumps(_as_object(report), allow_nan=False))
    else:
        _print_table(report)
    return 0


def _as_object(report: Report) -> dict[str, object]:
    evaluation = asdict(report.evaluation)
    return {
        **{name: evaluation.pop(name) for name in FIGURES},
        "samples": report.samples,
        "reference_samples": report.reference_samples,
        "network": report.network,
        "network_sha256": report.network_sha256,
        **evaluation,
    }


def _print_table(report: Report) -> None:
    table = Table("figure", "value", "better", box=None, pad_edge=False)
    for key, (name, digits, better) in FIGURES.items():
        table.add_row(name, _told(report.evaluation, key, digits), better)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    for key, reason in report.evaluation.reasons.items():
        print(printable(f"{FIGURES[key][0]} is absent: {reason}"))
    counts = ["statistics" if n is None else f"{n:,} images" for n in (report.samples, report.reference_samples)]
    network = f"{report.network}, SHA-256 {report.network_sha256}" if report.network else "features as they were given"
    print(f"{' against '.join(counts)}; {printable(network)}")


def _told(evaluation: Evaluation, key: str, digits: int) -> str:
    value = getattr(evaluation, key)
    if value is None:
        return "-"
    deviation = getattr(evaluation, f"{key}_deviation", None)
    return f"{value:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
