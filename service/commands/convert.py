"""Turns a pickled checkpoint (.pt, .bin) into safetensors, in a child process that can build nothing but tensors.

    dit convert checkpoints/0400000.pt --out dit-xl-2-256.safetensors

`dit serve` does so by itself on first use; this is for doing it beforehand, or for keeping the result. Prints the path
of the file, and on standard error the SHA-256 that its images' receipts have: that of what was converted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.convert import convert, ensure_safetensors
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.checkpoints.wrappers import read_facts
from dit_serve.models.options import expanded
from dit_serve.service.commands.destination import make_ready, read_destination
from dit_serve.service.commands.terminal import print_path
from dit_serve.service.errors import CommandError

SUFFIX = ".safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, where to put the result, and the form of the answer."""
    parser.add_argument("checkpoint", help="File to convert, .pt or .bin.")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="Safetensors file to write, or a folder for it; default one in the cache (DIT_CACHE), where `dit serve` "
        "looks for it.",
    )
    parser.add_argument(
        "--weights", choices=("model", "ema"), help="Which of a file that holds both; default ema where there is one."
    )
    parser.add_argument("--json", action="store_true", help='Print {"path": …, "sha256": …} instead of the path.')


def run(options: argparse.Namespace) -> int:
    """Prints the path of the safetensors file, and the SHA-256 that receipts have."""
    source = Path(expanded(options.checkpoint))
    if not source.exists():
        raise CommandError(f"{source}: no such file: check the path{hint(source)}")
    if options.out is None:
        path = ensure_safetensors(source, weights=options.weights)
    else:
        destination = read_destination(options.out, SUFFIX)
        path = destination.path(f"{source.stem}{SUFFIX}")
        with _ready(destination.folder):
            convert(source, path, weights=options.weights)
    sha256 = read_facts(path).source_sha256 or files_sha256([source])
    if options.json:
        print(json.dumps({"path": str(path), "sha256": sha256}))
        return 0
    print_path(path)
    print(f"sha256 {sha256}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _ready(folder: Path) -> Iterator[None]:
    """The folder is made if need be; those that were made for nothing are removed again."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_ready(folder)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()
        raise
