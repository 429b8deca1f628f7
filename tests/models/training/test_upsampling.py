"""Up-sampled pictures are smooth, and their area averages are what they were made from."""

from __future__ import annotations

import numpy as np
import pytest

from dit_serve.models.training.upsampling import area_averages, upsample


def _pictures(side: int) -> np.ndarray:
    """Smooth blobs of random place and size on black."""
    generator = np.random.default_rng()
    place, width = generator.uniform(0.3, 0.7, (6, 2, 1, 1)), generator.uniform(0.1, 0.2, (6, 1, 1))
    grid = np.stack(np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2))
    return np.exp(-((grid[None] - place) ** 2).sum(1) / (2 * width**2))


def test_area_averages_are_the_means_of_squares() -> None:
    images = np.arange(2 * 16 * 16).reshape(2, 16, 16).astype(float)
    averages = area_averages(images, 8)
    assert averages.shape == (2, 8, 8)
    assert averages[1, 3, 5] == images[1, 6:8, 10:12].mean()


def test_area_averages_share_a_pixel_that_an_edge_cuts() -> None:
    image = np.arange(9.0).reshape(1, 3, 3)
    fine = np.kron(image[0], np.ones((2, 2))).reshape(2, 3, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(area_averages(image, 2)[0], fine, rtol=1e-12)


@pytest.mark.parametrize(("side", "resolution"), [(8, 64), (28, 64), (28, 28), (7, 31)])
def test_up_sampling_keeps_the_area_averages(side: int, resolution: int) -> None:
    pictures = _pictures(side)
    found = area_averages(upsample(pictures, resolution) / 255.0, side)
    assert np.abs(found - pictures).max() < 0.02


def test_the_side_may_not_shrink() -> None:
    with pytest.raises(ValueError, match="28 pixels need a resolution of at least 28, got 27"):
        upsample(np.zeros((1, 28, 28)), 27)
