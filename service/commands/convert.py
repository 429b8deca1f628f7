"""Turns a pickled checkpoint (.pt, .bin) into safetensors, in a child process that can build nothing but tensors.

    dit convert checkpoints/0400000.pt --out dit-xl-2-256.safetensors

`dit serve` does so by itself on first use; this is for doing it beforehand, or for keeping the result. Prints the path
of the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_serve.models.checkpoints.convert import convert, ensure_safetensors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and where to put the result."""
    parser.add_argument("checkpoint", type=Path, help="File to convert, .pt or .bin.")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="Safetensors file to write; default one in the cache (DIT_CACHE), where `dit serve` looks for it.",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the path of the safetensors file."""
    if options.out is None:
        print(ensure_safetensors(options.checkpoint))
    else:
        convert(options.checkpoint, options.out)
        print(options.out)
    return 0
