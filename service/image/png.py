"""PNG encoding and the reading back of what an image says about itself.

Knows pixels and text chunks; what the chunks mean is `service.image.receipt`'s affair.
Reference: PNG (third edition), W3C 2025, sections 11.3.3.2 (tEXt) and 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image, PngImagePlugin

from dit_serve.models.errors import printable
from dit_serve.service.errors import ReceiptError
from dit_serve.service.image.receipt import PREFIX, Receipt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE = 4096  # pixels of an image that is read back; far above any DiT, far below what fills a memory
Z_RLE = 3  # zlib's strategy: four times faster than Pillow's default on photographs, at the same size


def encode_png(pixels: Any, chunks: Mapping[str, str]) -> bytes:
    """The PNG of an image; the same pixels and chunks always give the same bytes.

    Args:
        pixels: (H, W, 3) uint8 array.
        chunks: text by keyword; as tEXt where Latin-1 suffices, else as iTXt.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or str(pixels.dtype) != "uint8":
        raise ValueError(f"pixels are {pixels.shape} {pixels.dtype}; (H, W, 3) uint8 is needed")
    info = PngImagePlugin.PngInfo()
    for keyword, text in chunks.items():
        _add_text(info, keyword, text)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", pnginfo=info, compress_level=1, compress_type=Z_RLE)
    return out.getvalue()


def read_png(data: bytes) -> tuple[Any, Receipt]:
    """The pixels, as a Pillow image in RGB, and the receipt of a PNG that this service made.

    Raises:
        ReceiptError: it is no PNG, one too large, or carries no receipt, or parts of several.
    """
    sides = struct.unpack(">II", data[16:24]) if len(data) >= 24 else (0, 0)  # of the first chunk, which is IHDR
    if data.startswith(SIGNATURE) and max(sides) > MAX_SIDE:
        raise ReceiptError(f"the PNG has {sides[0]} x {sides[1]} pixels, and no image of this service is as large")
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            warnings.simplefilter("ignore")  # of what is odd and can be read
            image.load()
            pixels, chunks = image.convert("RGB"), dict(image.text)  # type: ignore[attr-defined]
    except Exception as error:  # whatever a decoder raises on foreign bytes
        raise ReceiptError("this is no PNG, or a damaged one: give an image that this service made") from error
    if twice := [name for name, count in Counter(_keywords(data)).items() if count > 1 and name.startswith(PREFIX)]:
        raise ReceiptError(f"the PNG has several receipts: {printable(twice[0], 40)} is there twice")
    return pixels, Receipt.from_chunks(chunks)


def read_receipt(data: bytes) -> Receipt:
    """The receipt of a PNG that this service made.

    Raises:
        ReceiptError: it is no PNG, or carries no receipt.
    """
    return read_png(data)[1]


def _keywords(data: bytes) -> Iterator[str]:
    """The keyword of each text chunk."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield data[place + 8 : place + 8 + min(length, 80)].partition(b"\0")[0].decode("latin-1")
        place += 12 + length


def _add_text(info: PngImagePlugin.PngInfo, keyword: str, text: str) -> None:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        info.add_itxt(keyword, text)
    else:
        info.add_text(keyword, text)
