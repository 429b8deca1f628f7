"""Draws the grid of generated digits that stands in the main README.

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
from dit_serve.models.registry import DEMOS

CLASSES = 10
ROWS = 2
SETS = {"digits-64": 2, "digits-128": 1}  # of the ten digits beside each other in a row: the same width for both
GAP = 8  # pixels between the two


def grid_of(pipeline: Pipeline, sets: int, steps: int, guidance_scale: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Two rows of all ten digits, `sets` times over: (2 * H, sets * 10 * W, 3) uint8."""
    columns = CLASSES * sets
    class_ids = list(range(CLASSES)) * sets * ROWS
    images = pipeline.generate(class_ids, range(len(class_ids)), steps=steps, guidance_scale=guidance_scale)
    rows = [np.concatenate(images[columns * i : columns * (i + 1)], axis=1) for i in range(ROWS)]
    return np.concatenate(rows).astype(np.uint8, copy=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Samples both demo models and writes one picture."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.demo.samples", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "samples.png")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=1.5, help="guidance scale")
    options = parser.parse_args(arguments)
    grids = [grid_of(load_pipeline(name), SETS[name], options.steps, options.cfg) for name in DEMOS]
    gap = np.full((GAP, grids[0].shape[1], 3), 255, dtype=np.uint8)
    picture = Image.fromarray(np.concatenate([grids[0], gap, grids[1]]))
    picture.convert("L").save(options.out, optimize=True)  # white ink on black: one channel tells all
    print(options.out)


if __name__ == "__main__":
    main()
