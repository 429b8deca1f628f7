"""Nothing can be made any more: whoever waits is told, in our form, and the books balance."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from dit_serve.service.errors import ShuttingDown
from dit_serve.service.front.front import Front
from dit_serve.service.wire.job import Outcome
from dit_serve.service.wire.messages import Fatal
from tests.service.asgi import Answer, ask
from tests.service.front.test_state_metrics import job, total, world

JSON = (b"content-type", b"application/json")
FORMS = (b"image/png", b"text/event-stream")


async def asked(front: Front, app: FastAPI, count: int) -> list[asyncio.Task[Answer]]:
    """So many requests of each form, accepted."""
    body = (b'{"class_id": 1, "cfg": 1}',)
    headers = [[JSON, (b"accept", form)] for form in FORMS for _ in range(count)]
    answers = [asyncio.create_task(ask(app, "POST", "/generate", each, body)) for each in headers]
    while len(front.ledger) < len(answers):
        await asyncio.sleep(0)
    return answers


def test_plain_requests_and_streams_are_answered_in_our_form_and_counted_as_failed() -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        answers = await asked(front, app, 4)
        front.stop_for_good("/a/path is broken")
        told = [await answer for answer in answers]
        for answer in told[:4]:
            assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"] == "5"
        for answer in told[4:]:
            last = answer.body.decode().split("\n\n")[-2]
            assert last.startswith("event: failed")
            assert "shutting-down" in last
        assert not any(b"/a/path" in answer.body for answer in told)
        assert total(registry, "dit_requests_total") == {
            "refused": 0, "invalid": 0, "completed": 0, "cancelled": 0, "failed": 8
        }
        assert front.ledger.counters.ended[Outcome.FAILED] == 8
        assert (await front.fatal).args == ("/a/path is broken",)

    world(test)


def test_new_work_is_refused_and_readiness_says_that_it_ends() -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        front.stop_for_good("broken")
        with pytest.raises(ShuttingDown):
            front.submit([job(front)])
        answer = await ask(app, "POST", "/generate", [JSON], (b'{"class_id": 1}',))
        assert (answer.status, total(registry, "dit_requests_total")["refused"]) == (503, 1)
        assert (await ask(app, "GET", "/readyz")).status == 503

    world(test)


def test_a_job_that_nobody_waits_for_ends_as_it_was_to_end() -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        (accepted,) = front.submit([job(front)])
        front.ledger.send(accepted, 0)
        front.give_up([accepted])
        front.stop_for_good("broken")
        assert front.ledger.counters.ended[Outcome.CANCELLED] == 1
        assert len(front.ledger) == 0

    world(test)


def test_everybody_is_told_even_if_the_books_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        accepted = front.submit([job(front), job(front)])

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(front.ledger, "end", broken)
        front.stop_for_good("broken")
        assert all(isinstance(each.result.result(), ShuttingDown) for each in accepted)

    world(test)


def test_the_second_reason_to_stop_is_not_told() -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        front.stop_for_good("first")
        front.stop_for_good("second")
        assert (await front.fatal).args == ("first",)

    world(test)


@pytest.mark.parametrize(
    ("is_served", "error", "is_the_end"),
    [
        (False, "CheckpointError", True),
        (True, "CheckpointError", False),  # its files were damaged since the others loaded them
        (True, "DeviceError", True),  # a setting that is wrong, however soon the others were up
    ],
)
def test_what_cannot_be_loaded_ends_a_start_and_not_what_others_serve(
    is_served: bool, error: str, is_the_end: bool
) -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        front.models = front.models if is_served else {}
        front.cannot_load(Fatal("broken", error, is_permanent=True))
        assert front.fatal.done() == is_the_end

    world(test)
