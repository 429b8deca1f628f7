"""From finished images to the answer of an inference request: JSON, and after it the tensors that are wanted as bytes.

    {"model_name": "digits-64", "model_version": "1", "outputs": [
        {"name": "image", "datatype": "UINT8", "shape": [2, 64, 64, 3], "parameters": {"binary_data_size": 24576}}, …]}

It is a row of pieces, of which each is made when it is sent, and let go of then: pixels of more than one image are
never there. How long each will be is known before any is made.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from dit_serve.models.options import ModelInfo
from dit_serve.service.http.negotiate import JSON
from dit_serve.service.http.open_inference.reading import HEADER, Asked
from dit_serve.service.http.open_inference.schemas import OUTPUTS, VERSION
from dit_serve.service.http.open_inference.tensors import int64_bytes, length_prefix, uint8_json, uint8_json_size
from dit_serve.service.image.convert import rows_of

OCTETS = "application/octet-stream"
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an answer.

    Args:
        size: how many.
        make: gives them.
        is_slow: whether that takes a thread.
    """

    size: int
    make: Callable[[], bytes]
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """The finished images of a request.

    Args:
        model: that made them.
        pngs: in order.
        seeds: of each.
    """

    model: ModelInfo
    pngs: Sequence[bytes]
    seeds: Sequence[int]


def answer(pictures: Pictures, outputs: Sequence[Asked], identity: str | None, headers: Mapping[str, str]) -> Response:
    """The response with these outputs.

    Args:
        pictures: all images of the request.
        outputs: what is asked for.
        identity: the request's own `id`, if it has one.
        headers: of the answer, beside those that say how long it is.
    """
    text, rest = list(_json(pictures, outputs, identity)), list(_bytes(pictures, outputs))
    header_size = sum(piece.size for piece in text)
    sizes = {"Content-Length": str(header_size + sum(piece.size for piece in rest))}
    if any(output.is_binary for output in outputs):
        sizes[HEADER] = str(header_size)
    media_type = OCTETS if HEADER in sizes else JSON
    return StreamingResponse(_sent(deque([*text, *rest])), media_type=media_type, headers={**headers, **sizes})


async def _sent(pieces: deque[Piece]) -> AsyncIterator[bytes]:
    while pieces:
        piece = pieces.popleft()
        made = await asyncio.to_thread(piece.make) if piece.is_slow else piece.make()
        assert len(made) == piece.size, f"a piece has {len(made)} bytes, and {piece.size} were announced"
        yield made
        await asyncio.sleep(0)  # a reader that takes all at once would keep everybody else waiting


def _json(pictures: Pictures, outputs: Sequence[Asked], identity: str | None) -> Iterator[Piece]:
    about: dict[str, Any] = {"model_name": pictures.model.name, "model_version": VERSION}
    if identity is not None:
        about["id"] = identity
    yield _ready(to_json(about)[:-1] + b',"outputs":[')
    for number, output in enumerate(outputs):
        said: dict[str, Any] = {"name": output.name, "datatype": OUTPUTS[output.name]}
        said["shape"] = _shape(pictures, output)
        if output.is_binary:
            said["parameters"] = {"binary_data_size": sum(piece.size for piece in _binary(pictures, output.name))}
            yield _ready(b"," * (number > 0) + to_json(said))
        else:
            yield _ready(b"," * (number > 0) + to_json(said)[:-1] + b',"data":[')
            yield from _elements(pictures, output.name)
            yield _ready(b"]}")
    yield _ready(b"]}")


def _bytes(pictures: Pictures, outputs: Sequence[Asked]) -> Iterator[Piece]:
    for output in outputs:
        if output.is_binary:
            yield from _binary(pictures, output.name)


def _shape(pictures: Pictures, output: Asked) -> list[int]:
    side = pictures.model.resolution
    return [len(pictures.pngs), *([side, side, CHANNELS] if output.name == "image" else [])]


def _elements(pictures: Pictures, name: str) -> Iterator[Piece]:
    """The elements of an output in JSON."""
    if name == "seed":
        yield _ready(to_json(list(pictures.seeds))[1:-1])
        return
    for index, png in enumerate(pictures.pngs):
        before = b"," if index else b" "
        if name == "image":
            yield Piece(uint8_json_size(_pixels(pictures)), partial(_numbers, before, png), is_slow=True)
        else:
            yield Piece(len(before) + 2 + (len(png) + 2) // 3 * 4, partial(_text, before, png))


def _binary(pictures: Pictures, name: str) -> Iterator[Piece]:
    """The elements of an output in bytes."""
    if name == "seed":
        yield _ready(int64_bytes(pictures.seeds))
        return
    for png in pictures.pngs:
        if name == "image":
            yield Piece(_pixels(pictures), partial(rows_of, png), is_slow=True)
        else:
            yield _ready(length_prefix(png))
            yield _ready(png)


def _pixels(pictures: Pictures) -> int:
    """Numbers of one image."""
    return pictures.model.resolution**2 * CHANNELS


def _ready(made: bytes) -> Piece:
    return Piece(len(made), lambda: made)


def _numbers(before: bytes, png: bytes) -> bytes:
    return before + uint8_json(rows_of(png))[1:]


def _text(before: bytes, png: bytes) -> bytes:
    """The PNG in base64 (RFC 4648, section 4)."""
    return b'%s"%s"' % (before, base64.b64encode(png))
