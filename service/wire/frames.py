"""Messages between the HTTP process and a worker: frames over a UNIX socket pair.

A frame is two lengths (unsigned, 4 bytes each, big-endian), a JSON header and raw bytes (a PNG,
or nothing). The header names the message's kind and is checked against that message's type,
so that nothing but the values of `service.wire.messages` can come through, and no others can be
built; both sizes are bounded. Nothing is ever unpickled.

Knows no process and no engine.
"""

from __future__ import annotations

import asyncio
import functools
import struct
from dataclasses import replace
from typing import Annotated, BinaryIO

from pydantic import Field, TypeAdapter, ValidationError

from dit_serve.service.errors import WireError
from dit_serve.service.wire.job import JobEnd, Preview
from dit_serve.service.wire.messages import FromWorker, Message, ToWorker

MAX_HEADER_BYTES = 4 << 20
MAX_PAYLOAD_BYTES = 64 << 20
_LENGTHS = struct.Struct(">II")


def pack(message: Message) -> bytes:
    """The frame of a message.

    Raises:
        WireError: it is larger than a frame may be.
    """
    payload = b""
    if isinstance(message, JobEnd | Preview):
        payload, message = message.png, replace(message, png=b"")
    header = _adapter().dump_json(message)
    _check_sizes(len(header), len(payload))
    return b"".join((_LENGTHS.pack(len(header), len(payload)), header, payload))


def receive(stream: BinaryIO) -> Message | None:
    """The next message of a blocking stream; None at its end.

    Raises:
        WireError: the frame is cut, too large or no message of ours.
    """
    lengths = stream.read(_LENGTHS.size)
    if not lengths:
        return None
    header_bytes, payload_bytes = _sizes(lengths)
    return _unpack(_exactly(stream, header_bytes), _exactly(stream, payload_bytes))


async def receive_async(stream: asyncio.StreamReader) -> Message | None:
    """As `receive`, without blocking the event loop."""
    try:
        lengths = await stream.readexactly(_LENGTHS.size)
        header_bytes, payload_bytes = _sizes(lengths)
        return _unpack(await stream.readexactly(header_bytes), await stream.readexactly(payload_bytes))
    except asyncio.IncompleteReadError as error:
        if error.partial == b"" and error.expected == _LENGTHS.size:
            return None
        raise WireError("the stream ended inside a frame") from error


def _sizes(lengths: bytes) -> tuple[int, int]:
    if len(lengths) < _LENGTHS.size:
        raise WireError("the stream ended inside a frame")
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    _check_sizes(header_bytes, payload_bytes)
    return header_bytes, payload_bytes


def _check_sizes(header_bytes: int, payload_bytes: int) -> None:
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a frame of {header_bytes} + {payload_bytes} bytes; allowed are {MAX_HEADER_BYTES} + {MAX_PAYLOAD_BYTES}"
        )


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise WireError("the stream ended inside a frame")
    return data


def _unpack(header: bytes, payload: bytes) -> Message:
    try:
        message = _adapter().validate_json(header)
    except ValidationError as error:
        raise WireError(f"not a message: {error.error_count()} errors in its header") from error
    return replace(message, png=payload) if isinstance(message, JobEnd | Preview) else message


@functools.cache  # building it takes longer than a thousand messages
def _adapter() -> TypeAdapter[Message]:
    return TypeAdapter(Annotated[ToWorker | FromWorker, Field(discriminator="kind")])
