"""A finished image in other forms than its PNG: raw pixels, JPEG or WebP, or a preview enlarged.

Each takes milliseconds and is called in a thread. Knows no receipt: JPEG and WebP carry none, for their pixels are not
those that were made. Pillow is imported when the first image is converted, so that a process which never does has no
need of it.
"""

from __future__ import annotations

import io
from typing import Literal

Lossy = Literal["jpeg", "webp"]
BEST_QUALITY = 100


def rows_of(png: bytes) -> bytes:
    """The pixels of a PNG of ours, (H, W, 3) uint8, row after row."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return image.convert("RGB").tobytes()


def encoded(png: bytes, form: Lossy, quality: int) -> bytes:
    """A PNG of ours as JPEG or WebP.

    Args:
        png: the image.
        form: what it is to be.
        quality: 0 to 100, the best.
    """
    from PIL import Image

    out = io.BytesIO()
    options = {"subsampling": 0 if quality >= 90 else 2} if form == "jpeg" else {"method": 4}
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.convert("RGB").save(out, form, quality=quality, **options)
    return out.getvalue()


def enlarged(png: bytes, side: int) -> bytes:
    """A PNG of ours at another size, (side, side) pixels, bilinear: for clients that show a preview as it comes."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR).save(out, "PNG", compress_level=1)
    return out.getvalue()
