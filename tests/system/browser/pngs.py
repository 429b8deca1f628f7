"""PNG files that somebody may drop on the gallery: pictures of this service, changed and damaged ones, and others."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
from PIL import Image

from dit_serve.service.image.png import encode_png, read_png

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def pixels_of(data: bytes) -> Pixels:
    """(H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def with_one_other_pixel(data: bytes) -> bytes:
    """A picture of the service whose receipt is no longer true of one pixel, by the least that there is."""
    image, receipt = read_png(data)
    pixels = np.array(image)
    pixels[3, 5, 1] ^= 1
    return encode_png(pixels, receipt.to_chunks())


def of_class_called(name: str, data: bytes) -> bytes:
    """A picture of the service as a model would have made it that calls its class so."""
    image, receipt = read_png(data)
    return encode_png(np.array(image), replace(receipt, class_name=name).to_chunks())


def without_receipt() -> bytes:
    """What another program wrote."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 90)).save(out, "PNG")
    return out.getvalue()


def cut_off(data: bytes) -> bytes:
    """The first half of a file, within its pixels."""
    assert data.index(b"IDAT") < len(data) // 2
    return data[: len(data) // 2]


def chunk_kinds(data: bytes) -> set[str]:
    """The kinds of text chunks in a PNG."""
    return {match.decode() for match in re.findall(rb"tEXt|iTXt|zTXt", data)}
