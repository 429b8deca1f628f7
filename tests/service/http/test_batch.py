"""POST /v1/batch: many images at once, each of which ends by itself."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.http.batch_schemas import BATCH_STREAM, BatchAnswer
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.tally import Verdict
from dit_serve.service.wire.job import Outcome
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import Answer, Header, ask
from tests.service.fake import KILLS, RAISES, SLOW, FakeDoor
from tests.service.front.test_front import debug
from tests.service.http.streams import EVENTS, Event, parse
from tests.service.http.test_app import assert_problem
from tests.service.http.test_generate import JSON
from tests.service.http.test_generate import post as post_one
from tests.service.running import Running, running

MIXED: list[dict[str, Any]] = [
    {"class_id": 7, "steps": 3, "seed": 1},
    {"class": "class 9", "steps": 5, "cfg": 1, "sampler": "ddpm", "model": "fake-128", "seed": 2, "n": 3},
    {"class_id": 0, "steps": 1, "cfg": 1.5, "seed": 3},
]


def post(
    client: httpx.Client, requests: list[Any], headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    return client.post("/v1/batch", json={"requests": requests, **more}, headers=headers)


def stream(client: httpx.Client, requests: list[Any]) -> list[Event]:
    """All events of a batch."""
    with client.stream("POST", "/v1/batch", json={"requests": requests}, headers=EVENTS) as response:
        assert response.status_code == 200, response.read()
        return list(parse(response.iter_lines()))


def alone(client: httpx.Client, request: dict[str, Any]) -> list[str]:
    """The images of one request of /generate."""
    return [image["b64_png"] for image in post_one(client, request, **JSON).json()["images"]]


def ends(events: list[Event]) -> dict[tuple[int, int], str]:
    """How each image ended; each does once."""
    told = [(data["index"], data["image"], name) for name, data in events if name in ("completed", "failed")]
    assert len({each[:2] for each in told}) == len(told)
    return {(index, image): name for index, image, name in told}


def test_results_come_in_the_order_of_the_requests_with_the_bytes_of_each_alone(client: httpx.Client) -> None:
    response = post(client, MIXED, {"X-Request-Id": "a-batch"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert (response.headers["vary"], response.headers["cache-control"]) == ("Accept", "no-store")
    answer = response.json()
    assert answer["request_id"] == "a-batch"
    assert [result.keys() for result in answer["results"]] == [{"images"}] * 3
    assert [[image["b64_png"] for image in result["images"]] for result in answer["results"]] == [
        alone(client, request) for request in MIXED
    ]
    assert [image["seed"] for image in answer["results"][1]["images"]] == [2, 3, 4]


def test_an_answer_is_what_is_described(client: httpx.Client) -> None:
    response = post(client, [*MIXED, {"class_id": RAISES}])
    found = TypeAdapter(BatchAnswer).validate_json(response.content)
    assert [len(result.images or []) for result in found.results] == [1, 3, 1, 0]
    assert found.results[3].problem is not None


def test_a_stream_tells_of_every_image_by_request_and_image(client: httpx.Client) -> None:
    events = stream(client, MIXED)
    assert events[0][0] == "queued"
    assert ends(events) == dict.fromkeys([(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)], "completed")
    images = {(data["index"], data["image"]): data["b64_png"] for name, data in events if name == "completed"}
    for index, request in enumerate(MIXED):
        assert [images[index, image] for image in range(request.get("n", 1))] == alone(client, request)
    for name, data in events:
        TypeAdapter(BATCH_STREAM[name]).validate_python(data)


def test_progress_and_previews_are_of_one_image_each(client: httpx.Client) -> None:
    requests = [{"class_id": SLOW, "steps": 12, "preview_every": 4}, {"class_id": SLOW, "steps": 20, "n": 2}]
    events = stream(client, requests)
    for index, image, steps in ((0, 0, 12), (1, 0, 20), (1, 1, 20)):
        progress = [data for name, data in events if name == "progress"]
        told = [data for data in progress if (data["index"], data["image"]) == (index, image)]
        assert [data["step"] for data in told] == sorted({data["step"] for data in told})
        assert {data["steps"] for data in told} == {steps}
    looks = [(data["index"], data["image"], data["step"]) for name, data in events if name == "preview"]
    assert looks
    assert set(looks) <= {(0, 0, 4), (0, 0, 8)}


def test_one_that_fails_leaves_the_others_alone(client: httpx.Client) -> None:
    requests = [MIXED[0], {"class_id": RAISES, "steps": 2, "n": 2}, MIXED[1]]
    results = post(client, requests).json()["results"]
    assert [result.keys() for result in results] == [{"images"}, {"problem"}, {"images"}]
    assert [[image["b64_png"] for image in result.get("images", [])] for result in results] == [
        alone(client, MIXED[0]), [], alone(client, MIXED[1]),
    ]  # fmt: skip
    assert (results[1]["problem"]["status"], results[1]["problem"]["title"]) == (500, "The image could not be made")
    events = stream(client, requests)
    assert list(ends(events).values()).count("completed") == 4
    failed = [data for name, data in events if name == "failed"]
    assert [(data["index"], data["image"], data["status"]) for data in failed] == [(1, 0, 500), (1, 1, 500)]
    assert "this class raises" not in str(events)


def test_where_no_image_came_the_answer_is_the_problem(client: httpx.Client) -> None:
    assert_problem(post(client, [{"class_id": RAISES}] * 2), 500, "job-failed")
    assert list(ends(stream(client, [{"class_id": RAISES}] * 2)).values()) == ["failed"] * 2


def test_one_that_kills_workers_fails_alone_and_the_others_get_the_same_bytes() -> None:
    with running(debug("--devices", "fake:0,fake:1")) as server, server.client() as client:
        events = stream(client, [MIXED[0], {"class_id": KILLS, "steps": 2}, MIXED[1], MIXED[2]])
        assert ends(events) == {
            **dict.fromkeys([(0, 0), (2, 0), (2, 1), (2, 2), (3, 0)], "completed"), (1, 0): "failed",
        }  # fmt: skip
        (failed,) = [data for name, data in events if name == "failed"]
        assert failed["type"] == "urn:dit-serve:problem:job-crashed"
        images = {(data["index"], data["image"]): data["b64_png"] for name, data in events if name == "completed"}
        assert [images[2, image] for image in range(3)] == alone(client, MIXED[1])


def test_a_drain_finishes_a_batch() -> None:
    requests = [{"class_id": SLOW, "steps": 30, "n": 3}, MIXED[0]]
    with running(debug()) as server, server.client() as client:
        body = {"requests": requests}
        with client.stream("POST", "/v1/batch", json=body, headers=EVENTS) as response:
            server.wait_for_event("job_started")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_event("draining")
            assert list(ends(list(parse(response.iter_lines()))).values()) == ["completed"] * 4
        assert server.finish() == 0


@pytest.mark.parametrize(
    ("accept", "status"), [("image/png", 406), ("image/*", 406), ("*/*", 200), ("text/html, */*", 200)]
)
def test_a_batch_comes_as_json_or_as_a_stream_alone(client: httpx.Client, accept: str, status: int) -> None:
    response = post(client, [MIXED[0]], {"Accept": accept})
    assert response.status_code == status
    if status == 406:
        problem = assert_problem(response, 406, "not-acceptable")
        assert problem["detail"] == "a batch can be had as application/json or text/event-stream"


def test_previews_are_for_streams(client: httpx.Client) -> None:
    problem = assert_problem(post(client, [MIXED[0], {"class_id": 1, "preview_every": 5}]), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["requests[1].preview_every"]  # type: ignore[attr-defined]


def test_wrong_requests_are_named_by_their_place(client: httpx.Client) -> None:
    problem = assert_problem(post(client, [MIXED[0], {"class_id": 500}, {}], deadline_ms=0), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [  # type: ignore[attr-defined]
        "deadline_ms", "requests[1].class_id", "requests[2].class_id",
    ]  # fmt: skip


Scene = Callable[[FastAPI, Front], Coroutine[Any, Any, None]]


def without_worker(scene: Scene, places: int = 64) -> None:
    """Plays a scene with a service where no worker ever takes a job."""

    async def run() -> None:
        front = Front(["false"], Configure(models=("fake-64",)), max_queue_sequences=places)
        front.models = {"fake-64": FakeDoor().info}
        await scene(create_app(front, read_settings({}, {})), front)
        assert len(front.ledger) == 0

    asyncio.run(run())


async def ask_batch(
    app: FastAPI, requests: list[Any], *headers: Header, leaves: asyncio.Event | None = None, **more: Any
) -> Answer:
    body = json.dumps({"requests": requests, **more}).encode()
    return await ask(app, "POST", "/v1/batch", [(b"content-type", b"application/json"), *headers], [body], leaves)


@pytest.mark.parametrize("accept", [b"application/json", b"text/event-stream"])
def test_a_client_that_leaves_frees_all_places(accept: bytes) -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        leaves = asyncio.Event()
        asked = asyncio.create_task(
            ask_batch(app, [{"class_id": 1, "n": 4}, {"class_id": 2, "cfg": 1}], (b"accept", accept), leaves=leaves)
        )
        while len(front.ledger) < 5:
            await asyncio.sleep(0)
        assert front.ledger.sequences == 9
        leaves.set()
        assert (await asked).status in (499, 200)  # a stream has begun
        assert front.ledger.counters.ended[Outcome.CANCELLED] == 5
        assert app.state.tally.ended[Verdict.CANCELLED] == 1

    without_worker(scene)


def test_all_are_accepted_or_none() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        leaves = asyncio.Event()
        first = asyncio.create_task(ask_batch(app, [{"class_id": 1}] * 20, leaves=leaves))
        while len(front.ledger) < 20:
            await asyncio.sleep(0)
        answer = await ask_batch(app, [{"class_id": 1}] * 13)
        assert answer.status == 429
        assert {"retry-after", "retry-after-ms"} <= answer.headers.keys()
        assert "this request needs 26" in json.loads(answer.body)["detail"]
        assert len(front.ledger) == 20
        leaves.set()
        await first

    without_worker(scene)


def test_what_the_whole_queue_could_never_hold_is_a_fault_and_no_refusal() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        answer = await ask_batch(app, [{"class_id": 1, "n": 16}, {"class_id": 1, "n": 16}, {"class_id": 1, "cfg": 1}])
        assert answer.status == 422
        (error,) = json.loads(answer.body)["errors"]
        assert error["field"] == "requests"
        assert error["message"].startswith("need 65 places (two an image, or one if cfg is 1) of a queue that has 64")

    without_worker(scene)


def test_a_deadline_ends_all_of_a_batch() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        answer = await ask_batch(app, [{"class_id": 1}] * 3, deadline_ms=1)
        assert answer.status == 504
        assert front.ledger.counters.ended[Outcome.EXPIRED] == 3
        headers = (b"accept", b"text/event-stream"), (b"x-deadline-ms", b"1")
        events = await ask_batch(app, [{"class_id": 1}] * 2, *headers)
        assert events.body.count(b"event: failed") == 2
        assert events.body.count(b'"status":504') == 2

    without_worker(scene)


def test_a_service_without_models_says_so_and_a_wrong_batch_is_wrong_all_the_same() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        front.models = {}
        assert (await ask_batch(app, [{"class_id": 1}])).status == 503
        assert (await ask_batch(app, [{"class_id": 1, "steps": 0}])).status == 422

    without_worker(scene)


def test_a_batch_has_a_line_for_each_image_and_none_of_its_own(fake_server: Running, client: httpx.Client) -> None:
    assert post(client, MIXED, {"X-Request-Id": "many-images"}).status_code == 200
    client.get("/v1/models", headers={"X-Request-Id": "after-many-images"})
    fake_server.wait_for(lambda line: line.get("request_id") == "after-many-images")
    told = [line["event"] for line in fake_server.seen if line.get("request_id") == "many-images"]
    assert told == ["job_end"] * 5


def test_png_and_json_of_a_batch_carry_the_same_bytes(client: httpx.Client) -> None:
    (result,) = post(client, [MIXED[0]]).json()["results"]
    assert base64.b64decode(result["images"][0]["b64_png"]) == post_one(client, MIXED[0]).content
