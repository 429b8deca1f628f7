"""Turns a pickled checkpoint (.pt, .bin) into safetensors, in a child process that can build nothing but tensors.

`dit serve` does so by itself on first use; this is for doing it beforehand, or for keeping the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_serve.models.checkpoints.convert import convert, ensure_safetensors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and where to put the result."""
    parser.add_argument("checkpoint", type=Path, help="a .pt or .bin file")
    parser.add_argument("--out", type=Path, help="safetensors file to write; default the cache, where serving looks")


def run(options: argparse.Namespace) -> int:
    """Prints the path of the safetensors file."""
    if options.out is None:
        print(ensure_safetensors(options.checkpoint))
    else:
        convert(options.checkpoint, options.out)
        print(options.out)
    return 0
