"""GET /v1/status: what it tells before anything was measured, at work, and of a service that is not ready."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.http.schemas import StatusAnswer
from dit_serve.service.settings import read_settings
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped, Timings
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import ask
from tests.service.fake import FakeDoor
from tests.service.front.test_forecast import job
from tests.service.http.test_auth import settings, with_app
from tests.service.http.test_generate import post
from tests.service.running import Running


async def status_of(app: FastAPI) -> dict[str, Any]:
    answer = await ask(app, "GET", "/v1/status")
    assert answer.status == 200
    StatusAnswer.model_validate_json(answer.body, strict=True)
    told: dict[str, Any] = json.loads(answer.body)
    return told


def test_a_service_that_loads_says_so_with_200() -> None:
    async def test(app: FastAPI) -> None:
        told = await status_of(app)
        assert (told["ready"], told["workers"], told["workers_up"], told["models"]) == (False, 1, 0, {})
        assert told["reason"]
        assert told["queue"] == {"running": 0, "waiting": 0, "places_taken": 0, "places": 32, "seconds": 0.0}

    with_app(test, read_settings({}, {}))


def test_the_books_are_told_as_they_stand() -> None:
    async def run() -> None:
        front = Front(["false"], Configure(models=("a", "b"), max_batch_sequences=8), max_queue_sequences=64)
        front.models = {"a": FakeDoor("a-64").info, "b": FakeDoor("b-64").info}
        app = create_app(front, read_settings({}, {}))
        nothing = {"step_seconds": None, "image_seconds": None, "places": 8}
        jobs: list[Job] = [job(1, 3), job(2, 2, 4.0), job(3, 5)]
        accepted = front.submit(jobs)
        for each in accepted[:2]:
            front.ledger.send(each, 0)
        front.ledger.started(Started((1, 2), 0.0))
        for at in range(3):
            front.ledger.stepped(Stepped((1, 2) if at < 2 else (1,), "a", 8, 0.25, 0.25 * at), 0)
        told = await status_of(app)
        assert told["models"]["a"] == {"step_seconds": 0.25, "image_seconds": None, "places": 8}
        assert told["models"]["b"] == nothing
        assert {name: told["queue"][name] for name in ("running", "waiting", "places_taken", "places")} == {
            "running": 2, "waiting": 1, "places_taken": 4, "places": 64,
        }  # fmt: skip
        assert told["queue"]["seconds"] > 0
        front.ledger.end(accepted[0], JobEnd(1, Outcome.COMPLETED, timings=Timings(decode=0.5)))
        assert (await status_of(app))["models"]["a"]["image_seconds"] == pytest.approx(0.5)
        front.give_up(accepted)

    asyncio.run(run())


def test_a_service_at_work_knows_its_pace(client: httpx.Client) -> None:
    assert post(client, {"class_id": 1, "steps": 10}).status_code == 200
    told = client.get("/v1/status").json()
    assert (told["ready"], told["reason"], told["workers"], told["workers_up"]) == (True, "", 1, 1)
    assert told["models"].keys() == {"fake-64", "fake-128"}
    assert told["models"]["fake-64"]["step_seconds"] > 0
    assert told["models"]["fake-64"]["image_seconds"] >= 0
    assert told["models"]["fake-64"]["places"] == 16
    assert told["queue"]["places"] == 512


def test_it_needs_a_key() -> None:
    async def test(app: FastAPI) -> None:
        assert (await ask(app, "GET", "/v1/status")).status == 401

    with_app(test, settings())


def test_it_is_not_logged_where_it_is_answered_well(fake_server: Running, client: httpx.Client) -> None:
    assert client.get("/v1/status", headers={"X-Request-Id": "a-poll"}).status_code == 200
    assert client.post("/v1/status", headers={"X-Request-Id": "a-wrong-one"}).status_code == 405
    fake_server.wait_for(lambda line: line.get("request_id") == "a-wrong-one")
    assert "a-poll" not in [line.get("request_id") for line in fake_server.seen]
