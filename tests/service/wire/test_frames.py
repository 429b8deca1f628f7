"""Frames: what is packed comes out again, and nothing else comes out."""

from __future__ import annotations

import asyncio
import io
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec
from dit_serve.service.errors import WireError
from dit_serve.service.wire.frames import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, pack, receive, receive_async
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Preview, Shrunk, Split, Started, Stepped, Timings
from dit_serve.service.wire.messages import (
    CancelJob,
    Configure,
    Fatal,
    FromWorker,
    Heartbeat,
    Imported,
    Loading,
    Message,
    Ready,
    SubmitJob,
    ToWorker,
)

JOB = Job(7, "request", "fake-64", SampleSpec(3, 2**63 - 1, 50, 1.5, "dpm++"))
MODEL = ModelInfo("m", 64, 2, (("zéro", "0"), ()), 1000, ("ddim",), 3, "float32", "cpu", "ab", "vae")
MESSAGES: list[Message] = [
    Configure(("a", "b=c"), ModelOptions("vae", "ema", "cpu", "bfloat16", "fp8", False, 5), 16),
    SubmitJob(JOB),
    CancelJob(7),
    Imported(),
    Loading("digits-64"),
    Ready((MODEL,), {"m": 16}),
    Fatal("no such file", "CheckpointError", True),
    Started((1, 2), 0.5),
    Stepped((1, 2), "fake-64", 4, 0.25, 0.0, 16, 3, 1),
    Preview(7, 3, b"\x89PNG"),
    Shrunk("m", 8),
    Split("m", 3, 1),
    Heartbeat("a step of 64 pixels: 21.0 s, where 20.0 s are the most"),
    JobEnd(7, Outcome.COMPLETED, b"\x89PNG\x00", Timings(1, 2, 3, 4)),
    JobEnd(7, Outcome.FAILED, reason="RuntimeError: no"),
]


def test_every_kind_of_message_is_among_the_examples() -> None:
    assert {type(message) for message in MESSAGES} == {*get_args(ToWorker), *get_args(FromWorker)}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_packed_is_received(message: Message) -> None:
    assert receive(io.BytesIO(pack(message))) == message


def test_messages_follow_one_another_until_the_end() -> None:
    stream = io.BytesIO(b"".join(map(pack, MESSAGES)))
    assert [receive(stream) for _ in MESSAGES] == MESSAGES
    assert receive(stream) is None


def read_async(data: bytes) -> list[Message | None]:
    async def read() -> list[Message | None]:
        stream = asyncio.StreamReader()
        stream.feed_data(data)
        stream.feed_eof()
        received: list[Message | None] = [await receive_async(stream)]
        while received[-1] is not None:
            received.append(await receive_async(stream))
        return received

    return asyncio.run(read())


def test_the_event_loop_reads_the_same() -> None:
    assert read_async(b"".join(map(pack, MESSAGES))) == [*MESSAGES, None]


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 30, -1])
def test_a_cut_frame_is_an_error(cut: int) -> None:
    data = pack(MESSAGES[-2])[:cut]
    with pytest.raises(WireError, match="inside a frame"):
        receive(io.BytesIO(data))
    with pytest.raises(WireError, match="inside a frame"):
        read_async(data)


@pytest.mark.parametrize("lengths", [(MAX_HEADER_BYTES + 1, 0), (2, MAX_PAYLOAD_BYTES + 1), (2**32 - 1, 2**32 - 1)])
def test_a_frame_past_the_bounds_is_refused_before_it_is_read(lengths: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="allowed are"):
        receive(io.BytesIO(struct.pack(">II", *lengths)))


def test_too_large_a_message_is_not_sent() -> None:
    with pytest.raises(WireError, match="allowed are"):
        pack(JobEnd(1, Outcome.COMPLETED, bytes(MAX_PAYLOAD_BYTES + 1)))


def frame(header: bytes) -> io.BytesIO:
    return io.BytesIO(struct.pack(">II", len(header), 0) + header)


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b"[]", b'{"kind": "exec"}', b'{"kind": "cancel"}', b'{"kind": "cancel", "job_id": "x"}', b"\x80\x04."],
)
def test_a_header_that_is_no_message_is_refused(header: bytes) -> None:
    with pytest.raises(WireError, match="not a message"):
        receive(frame(header))


@given(st.binary(max_size=200))
def test_random_bytes_give_a_message_the_end_or_an_error(data: bytes) -> None:
    try:
        message = receive(io.BytesIO(data))
    except WireError:
        return
    assert message is None or type(message) in {type(example) for example in MESSAGES}
