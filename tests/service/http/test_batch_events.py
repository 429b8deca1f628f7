"""What a stream of many images tells its reader when some fail, and what it lets go of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dit_serve.service.errors import JobFailed, ShuttingDown
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.http.batch_schemas import BATCH_STREAM
from dit_serve.service.http.events import Telling, Watch
from dit_serve.service.wire.job import JobEnd, Outcome, Started
from tests.service.front.test_dispatch import FakeWorker
from tests.service.http.test_events import Reader, completed, following, job, step

NAMES = [{"index": 0, "image": 0}, {"index": 1, "image": 0}, {"index": 1, "image": 1}]
Scene = Callable[[Ledger, list[Accepted], Watch, Reader], Coroutine[Any, Any, None]]


def with_batch(scene: Scene) -> None:
    """Plays a scene with three images of two requests, of which one worker has made a step, and their reader."""

    async def run() -> None:
        ledger = Ledger(1)
        accepted = [ledger.enter(job(number)) for number in (1, 2, 3)]
        for each in accepted:
            ledger.send(each, 0)
        telling = Telling(BATCH_STREAM, NAMES, completed, goes_on=True)
        watch = Watch(accepted, Outlook(ledger, [FakeWorker(0)], 16, dict), telling)
        reader = watch.events()
        assert (await following(reader))[0] == "queued"
        ledger.started(Started((1, 2, 3), 0.0))
        step(ledger, 1, 2, 3)
        for names in NAMES:
            name, data = await following(reader)
            assert (name, {key: data[key] for key in names}, data["step"]) == ("progress", names, 1)
        await scene(ledger, accepted, watch, reader)

    asyncio.run(run())


def done(ledger: Ledger, accepted: Accepted) -> None:
    ledger.end(accepted, JobEnd(accepted.job.id, Outcome.COMPLETED, b"png"))


def fails(ledger: Ledger, accepted: Accepted) -> None:
    ledger.end(accepted, JobEnd(accepted.job.id, Outcome.FAILED), JobFailed("why"))


def test_after_a_failure_the_others_are_told_of() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        fails(ledger, accepted[1])
        name, data = await following(reader)
        assert (name, data["index"], data["image"], data["status"], data["detail"]) == ("failed", 1, 0, 500, "why")
        done(ledger, accepted[2])
        done(ledger, accepted[0])
        told = [await following(reader) for _ in range(2)]
        assert sorted((data["index"], data["image"]) for _, data in told) == [(0, 0), (1, 1)]
        assert {name for name, _ in told} == {"completed"}
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert watch.status == 200

    with_batch(scene)


def test_a_batch_of_which_nothing_came_amounts_to_its_first_problem() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        for each in accepted:
            fails(ledger, each)
        assert [(await following(reader))[0] for _ in accepted] == ["failed"] * 3
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert watch.status == 500

    with_batch(scene)


def test_what_is_not_made_because_nothing_is_made_any_more_is_one_last_failure() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        fails(ledger, accepted[0])
        ledger.end(accepted[1], JobEnd(2, Outcome.FAILED), ShuttingDown("it ends"))
        done(ledger, accepted[2])
        told = [await following(reader) for _ in range(3)]
        ends = [(name, data.get("index"), data.get("image")) for name, data in told]
        assert sorted(ends[:2]) == [("completed", 1, 1), ("failed", 0, 0)]
        assert ends[2] == ("failed", None, None)
        assert (told[2][1]["status"], told[2][1]["detail"]) == (503, "it ends")
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert watch.status == 200

    with_batch(scene)


def test_an_image_is_let_go_of_when_it_is_told_though_others_are_under_way() -> None:
    async def scene(ledger: Ledger, accepted: list[Accepted], watch: Watch, reader: Reader) -> None:
        assert list(watch.untold) == accepted
        done(ledger, accepted[0])
        assert (await following(reader))[0] == "completed"
        assert list(watch.untold) == accepted[1:]

    with_batch(scene)
