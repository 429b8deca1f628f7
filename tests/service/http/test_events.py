"""What a stream of events tells, to quick and to slow readers, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest
from PIL import Image

from dit_serve.models.options import SampleSpec
from dit_serve.service.errors import JobFailed
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.http import events as sse
from dit_serve.service.http.events import EventStream, Telling, Watch
from dit_serve.service.http.generate import image_fields
from dit_serve.service.http.schemas import STREAM
from dit_serve.service.image.png import read_receipt
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Preview, Started, Stepped
from tests.service.fake import RAISES, SLOW, FakeDoor
from tests.service.front.test_dispatch import FakeWorker
from tests.service.front.test_front import ENDLESS_JOB, SLOW_JOB, debug, leaving_client
from tests.service.http.streams import Event, events_of, parse, streaming
from tests.service.http.test_app import assert_problem
from tests.service.http.test_generate import post
from tests.service.running import PATIENCE_SECONDS, Running, running

BODY = {"class_id": 7, "steps": 20, "seed": 11}


def names(events: list[Event]) -> list[str]:
    return [name for name, _ in events]


def test_a_stream_begins_with_the_place_and_ends_with_the_image(fake_server: Running, client: httpx.Client) -> None:
    events = events_of(fake_server, BODY)
    assert (names(events)[0], names(events)[-1]) == ("queued", "completed")
    assert events[0][1]["position"] >= 0
    assert events[0][1]["eta_seconds"] is None or events[0][1]["eta_seconds"] >= 0
    png = base64.b64decode(events[-1][1]["b64_png"])
    assert png == post(client, BODY).content


def test_the_last_event_has_the_receipt(fake_server: Running) -> None:
    name, data = events_of(fake_server, BODY, **{"X-Request-Id": "an-id"})[-1]
    assert (name, data["index"], data["request_id"]) == ("completed", 0, "an-id")
    receipt = read_receipt(base64.b64decode(data["b64_png"]))
    assert {key: data[key] for key in receipt.__dataclass_fields__} == {
        key: getattr(receipt, key) for key in receipt.__dataclass_fields__
    }
    assert data["timing_ms"].keys() == {"queue", "denoise", "decode", "encode"}


def test_the_headers_are_those_of_a_stream(fake_server: Running) -> None:
    with streaming(fake_server, BODY) as (response, events):
        list(events)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-seed"] == "11"


def test_several_images_have_one_last_event_each(fake_server: Running, client: httpx.Client) -> None:
    body = {**BODY, "n": 4}
    images = {data["index"]: data["b64_png"] for name, data in events_of(fake_server, body) if name == "completed"}
    together = post(client, body, Accept="application/json").json()["images"]
    assert [images[index] for index in range(4)] == [image["b64_png"] for image in together]


def test_progress_is_monotone_and_within_the_steps(fake_server: Running) -> None:
    told = [data for name, data in events_of(fake_server, {"class_id": SLOW, "steps": 25}) if name == "progress"]
    steps = [data["step"] for data in told]
    assert steps == sorted(set(steps))
    assert {data["steps"] for data in told} == {25}
    assert len(steps) >= 3
    assert all(data["eta_seconds"] >= 0 for data in told)


def test_previews_come_at_the_chosen_steps(fake_server: Running) -> None:
    events = events_of(fake_server, {"class_id": SLOW, "steps": 25, "preview_every": 10})
    looks = [data for name, data in events if name == "preview"]
    assert [data["step"] for data in looks] == [10, 20]
    image = Image.open(io.BytesIO(base64.b64decode(looks[0]["b64_png"])))
    assert image.size == (8, 8)


def test_no_previews_come_unasked(fake_server: Running) -> None:
    assert "preview" not in names(events_of(fake_server, {"class_id": SLOW, "steps": 5}))


def test_a_stream_that_fails_ends_with_its_problem(fake_server: Running) -> None:
    events = events_of(fake_server, {"class_id": RAISES, "n": 2}, **{"X-Request-Id": "a-failure"})
    name, data = events[-1]
    assert (name, data["status"], data["type"]) == ("failed", 500, "urn:dit-serve:problem:job-failed")
    assert data["request_id"] == "a-failure"
    assert "this class raises" not in str(events)
    line = fake_server.wait_for(lambda line: line.get("event") == "request" and line["request_id"] == "a-failure")
    assert line["status"] == 500


def test_what_is_refused_is_no_stream(client: httpx.Client) -> None:
    response = post(client, {"class_id": 100}, Accept="text/event-stream")
    assert_problem(response, 422, "invalid-request")


def test_a_reader_that_leaves_gives_up_its_images() -> None:
    with running(debug("--max-batch-sequences", "2")) as server:
        with leaving_client(server, {**ENDLESS_JOB, "n": 3}, accept=b"text/event-stream"):
            pass
        request, *ends = server.wait_for_events("request", *["job_end"] * 3)
        assert request["status"] == 499
        assert [end["outcome"] for end in ends] == ["cancelled"] * 3
        assert names(events_of(server, BODY))[-1] == "completed"


def test_a_killed_worker_costs_a_reader_nothing_but_time() -> None:
    with running(debug()) as server:
        undisturbed = events_of(server, SLOW_JOB)[-1][1]["b64_png"]
        server.wait_for_event("job_end")
        with streaming(server, SLOW_JOB) as (_, events):
            server.wait_for_event("job_started")
            os.kill(server.worker_pid, signal.SIGKILL)
            told = list(events)
        assert told[-1][1]["b64_png"] == undisturbed
        steps = [data["step"] for name, data in told if name == "progress"]
        assert steps == sorted(set(steps))


def test_open_streams_end_with_their_image_when_the_service_drains() -> None:
    with running(debug()) as server:
        with streaming(server, SLOW_JOB) as (_, first), streaming(server, {**SLOW_JOB, "n": 2}) as (_, second):
            for _ in range(3):
                server.wait_for_event("job_started")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_event("draining")
            assert [names(list(first))[-1], names(list(second))[-1]] == ["completed", "completed"]
        assert server.finish() == 0
        (tally,) = [line for line in server.seen if line.get("event") == "tally"]
        assert (tally["received"], tally["completed"], tally["under_way"]) == (2, 2, 0)


def test_a_drain_that_takes_too_long_ends_open_streams_with_a_problem() -> None:
    with running(debug("--drain-seconds", "0.1")) as server, streaming(server, ENDLESS_JOB) as (_, events):
        server.wait_for_event("job_started")
        server.process.send_signal(signal.SIGTERM)
        name, data = list(events)[-1]
        assert (name, data["status"]) == ("failed", 504)
        assert server.finish() == 1


def job(number: int) -> Job:
    return Job(number, "r", "fake-64", SampleSpec(0, 0, 10, 4.0, "ddim"), preview_every=1)


def completed(_: int, end: JobEnd) -> dict[str, Any]:
    return image_fields(job(0), end, FakeDoor().info)


Reader = AsyncIterator[bytes]
Scene = Callable[[Ledger, list[Accepted], Watch, Reader], Coroutine[Any, Any, None]]


def with_watch(jobs: int, scene: Scene) -> None:
    """Plays a scene with the ledger, jobs that one worker has, and their reader."""

    async def run() -> None:
        ledger = Ledger(1)
        accepted = [ledger.enter(job(number)) for number in range(1, jobs + 1)]
        for each in accepted:
            ledger.send(each, 0)
        telling = Telling(STREAM, [{"index": index} for index in range(jobs)], completed)
        watch = Watch(accepted, Outlook(ledger, [FakeWorker(0)], 16, dict), telling)
        await scene(ledger, accepted, watch, watch.events())

    asyncio.run(run())


async def following(reader: Reader) -> Event:
    (event,) = parse((await anext(reader)).decode().split("\n"))
    return event


def step(ledger: Ledger, *ids: int) -> None:
    ledger.stepped(Stepped(ids, "fake-64", 2, 0.01, 0.0), 0)


def test_a_slow_reader_misses_steps_and_previews_but_no_end() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        assert (await following(reader))[0] == "queued"
        ledger.started(Started((1,), 0.0))
        for number in range(1, 8):
            step(ledger, 1)
            ledger.previewed(Preview(1, number, b"look"))
        look, progress = await following(reader), await following(reader)
        assert (look[0], look[1]["step"]) == ("preview", 7)
        assert (progress[0], progress[1]["step"]) == ("progress", 7)
        for _ in range(3):
            step(ledger, 1)
        ledger.end(accepted[0], JobEnd(1, Outcome.COMPLETED, b"png"))
        assert (await following(reader))[0] == "completed"
        assert watch.status == sse.CLIENT_LEFT  # as long as the last event is not gone out
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert watch.status == 200

    with_watch(1, scene)


def test_looks_and_ends_are_told_at_once_and_wait_for_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PACE_SECONDS", 1e6)

    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        await following(reader)
        ledger.started(Started((1,), 0.0))
        step(ledger, 1)
        assert (await following(reader))[0] == "progress"
        coming = asyncio.ensure_future(following(reader))
        await asyncio.sleep(0)  # the reader waits for the next step's turn
        step(ledger, 1)
        ledger.previewed(Preview(1, 2, b"look"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [(await coming)[0], (await following(reader))[0]] == ["preview", "progress"]
            ledger.end(accepted[0], JobEnd(1, Outcome.COMPLETED, b"png"))
            assert (await following(reader))[0] == "completed"

    with_watch(1, scene)


def test_a_failure_is_the_last_event_whatever_else_is_on_its_way() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        await following(reader)
        ledger.started(Started((1, 2), 0.0))
        ledger.end(accepted[0], JobEnd(1, Outcome.FAILED), JobFailed("why"))
        step(ledger, 2)
        assert (await following(reader))[0] == "failed"
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert watch.status == 500

    with_watch(2, scene)


def test_after_a_crash_nothing_is_told_twice() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        await following(reader)
        ledger.started(Started((1,), 0.0))
        for _ in range(3):
            step(ledger, 1)
        assert (await following(reader))[1]["step"] == 3
        ledger.lost(0)
        ledger.send(accepted[0], 0)
        ledger.started(Started((1,), 0.0))
        for _ in range(4):
            step(ledger, 1)
        assert (await following(reader))[1]["step"] == 4

    with_watch(1, scene)


def test_silence_is_filled_with_places_and_then_with_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "QUEUED_SECONDS", 0.0)
    monkeypatch.setattr(sse, "PING_SECONDS", 0.0)

    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        assert [(await following(reader))[0] for _ in range(3)] == ["queued"] * 3
        ledger.started(Started((1,), 0.0))
        step(ledger, 1)
        assert (await following(reader))[0] == "progress"
        assert (await anext(reader)).startswith(b":")

    with_watch(1, scene)


def test_a_stream_is_closed_even_if_its_reader_left_before_it_began() -> None:
    closed: list[bool] = []

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    stream = EventStream(nothing(), {}, lambda: closed.append(True))
    asyncio.run(stream({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send))
    assert closed == [True]
