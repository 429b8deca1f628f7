"""Small pictures as smooth larger ones whose area averages are the small ones again.

A cubic B-spline whose control points are corrected until the area averages of the clamped picture are the small one
(Landweber's iteration): smooth to look at, and as faithful as what it was made from. Knows no dataset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 40  # of correction; the error of the digits falls by two thirds from 10 to 40 and the look stays smooth

Floats = NDArray[np.floating]


def upsample(pictures: Floats, resolution: int) -> NDArray[np.uint8]:
    """Return smooth pictures of a larger side: (N, S, S) in [0, 1] -> (N, H, W) uint8, black outside them.

    Raises:
        ValueError: the resolution is below the pictures' own side.
    """
    side = pictures.shape[-1]
    if resolution < side:
        raise ValueError(f"pictures of {side} pixels need a resolution of at least {side}, got {resolution}")
    spline = _spline_matrix(side, resolution).astype(pictures.dtype)
    average = average_matrix(resolution, side).astype(pictures.dtype)
    control = pictures.copy()
    for _ in range(ROUNDS):
        control += pictures - average @ _clamped(spline, control) @ average.T
    return np.round(_clamped(spline, control) * 255.0).astype(np.uint8)


def area_averages(images: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return each image averaged over a grid of equal squares: (N, H, W) -> (N, side, side), in the images' unit."""
    average = average_matrix(images.shape[-1], side)
    return np.asarray(average @ images @ average.T, dtype=np.float64)


def _clamped(spline: Floats, control: Floats) -> Floats:
    """The spline surface over control points, kept in [0, 1]: (H, S), (N, S, S) -> (N, H, H)."""
    surface: Floats = spline @ control @ spline.T
    return surface.clip(0.0, 1.0)


def _spline_matrix(side: int, resolution: int) -> NDArray[np.float64]:
    """Cubic B-spline up-sampling of `side` samples, zero outside them: (resolution, side)."""
    centres = (np.arange(resolution) + 0.5) * side / resolution - 0.5
    distance = np.abs(centres[:, None] - np.arange(side)[None])
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = (2.0 - distance).clip(0.0) ** 3 / 6.0
    return np.asarray(np.where(distance < 1.0, near, far))


def average_matrix(resolution: int, side: int) -> NDArray[np.float64]:
    """Return the mean over each of `side` equal parts of a line of pixels, pixels cut by edges: (side, resolution)."""
    edges = np.arange(side + 1) * resolution / side
    pixels = np.arange(resolution)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(covered.clip(0.0) * side / resolution)
