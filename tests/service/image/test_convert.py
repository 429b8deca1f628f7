"""A PNG in other forms: the same pixels, nearly the same, or the same picture larger."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dit_serve.service.image.convert import BEST_QUALITY, Lossy, encoded, enlarged, rows_of
from dit_serve.service.image.png import encode_png


@pytest.fixture
def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A smooth picture of 24 by 24 pixels."""
    ramp = np.linspace(0, 255, 24)
    return np.stack([*np.meshgrid(ramp, ramp), np.full((24, 24), 90.0)], axis=-1).astype(np.uint8)


def test_rows_are_the_pixels(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    assert rows_of(encode_png(pixels, {"dit:seed": "5"})) == pixels.tobytes()


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_lossy_form_is_near_and_the_nearer_the_better_its_quality(
    form: Lossy, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    png, errors = encode_png(pixels, {}), []
    for quality in (BEST_QUALITY, 10):
        with Image.open(io.BytesIO(encoded(png, form, quality))) as image:
            assert image.format == form.upper()
            assert image.size == (24, 24)
            errors.append(np.abs(np.asarray(image.convert("RGB"), float) - pixels).mean())
    assert errors[0] < 3
    assert errors[0] < errors[1]


def test_a_preview_grows_to_a_side(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with Image.open(io.BytesIO(enlarged(encode_png(pixels, {}), 96))) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (96, 96), "RGB")
        small = np.asarray(image.resize((24, 24), Image.Resampling.BOX), float)
    assert np.abs(small - pixels).mean() < 2


def test_pillow_is_imported_by_who_converts_alone() -> None:
    code = "import sys, dit_serve.service.http.app; sys.exit('PIL.Image' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
