"""Draws the grid of generated pictures that stands in the main README.

    python -m dit_serve.models.demo.samples --out models/demo/samples.png

The seeds are 0, 1, 2 ...: the pictures are not chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dit_serve.models.pipeline import Pipeline, load_pipeline

CLASSES = 10
SHAPES = {"fashion-64": (4, 20), "digits-64": (1, 20), "digits-128": (1, 10)}  # rows and columns: one width for all
GAP = 8  # pixels between two models


def grid_of(
    pipeline: Pipeline, rows: int, columns: int, steps: int, guidance_scale: float
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Rows of all ten classes in turn, each class in columns of its own: (rows * H, columns * W, 3) uint8."""
    class_ids = [column * CLASSES // columns for column in range(columns)] * rows
    images = pipeline.generate(class_ids, range(len(class_ids)), steps=steps, guidance_scale=guidance_scale)
    parts = [np.concatenate(images[columns * i : columns * (i + 1)], axis=1) for i in range(rows)]
    return np.concatenate(parts).astype(np.uint8, copy=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Samples the demo models and writes one picture."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.demo.samples", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "samples.png")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=1.5, help="guidance scale")
    options = parser.parse_args(arguments)
    grids = [grid_of(load_pipeline(name), *shape, options.steps, options.cfg) for name, shape in SHAPES.items()]
    gap = np.full((GAP, grids[0].shape[1], 3), 255, dtype=np.uint8)
    picture = Image.fromarray(np.concatenate([grids[0], gap, grids[1], gap, grids[2]]))
    picture.convert("L").save(options.out, optimize=True)  # white on black: one channel tells all
    print(options.out)


if __name__ == "__main__":
    main()
