"""The present state as Prometheus is told it: it agrees with the books, adds up, and has a bounded number of series."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.front.front import Front
from dit_serve.service.front.state_metrics import StateCollector
from dit_serve.service.http.app import create_app
from dit_serve.service.settings import read_settings
from dit_serve.service.telemetry.metrics import Metrics
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started
from dit_serve.service.wire.messages import Configure
from dit_serve.service.workers.placement import Placement
from tests.service.asgi import ask
from tests.service.fake import FakeDoor
from tests.service.http.hostile import METHODS

REQUESTS = 100_000
MODELS = {name: FakeDoor(name).info for name in ("fake-64", "fake-128")}


def world(test: Callable[[Front, FastAPI, CollectorRegistry], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on a front that knows two models and has no worker that is up."""

    async def run() -> None:
        registry, tally = CollectorRegistry(), Tally()
        configure = Configure(models=tuple(MODELS), max_batch_sequences=8)
        front = Front(["unused"], configure, Placement(("a", "b")), max_queue_sequences=32, metrics=Metrics(registry))
        front.models = MODELS
        registry.register(StateCollector(front, tally))
        await test(front, create_app(front, read_settings({}, {}), tally), registry)

    asyncio.run(run())


def job(front: Front, resolution: int = 64, scale: float = 4.0) -> Job:
    return Job(front.next_job_id(), "r", f"fake-{resolution}", SampleSpec(0, 0, 10, scale, "ddim"))


def queue(registry: CollectorRegistry, what: str) -> dict[tuple[int, str], float | None]:
    def value(model: ModelInfo, state: str) -> float | None:
        labels = {"model": model.name, "resolution": str(model.resolution), "state": state}
        return registry.get_sample_value(f"dit_queue_{what}", labels)

    states = ("waiting", "running")
    return {(model.resolution, state): value(model, state) for model in MODELS.values() for state in states}


def test_the_queues_figures_are_the_real_backlog() -> None:
    async def test(front: Front, _: FastAPI, registry: CollectorRegistry) -> None:
        accepted = front.submit([job(front, 64), job(front, 64, 1.0), job(front, 128)])
        front.ledger.started(Started((accepted[0].job.id,), 0.0))
        expected = {(64, "running"): 1, (64, "waiting"): 1, (128, "waiting"): 1, (128, "running"): 0}
        assert queue(registry, "jobs") == expected
        expected = {(64, "running"): 2, (64, "waiting"): 1, (128, "waiting"): 2, (128, "running"): 0}
        assert queue(registry, "sequences") == expected
        assert registry.get_sample_value("dit_queue_bound_sequences") == 32
        front.give_up(accepted)
        assert set(queue(registry, "jobs").values()) == {0}

    world(test)


def test_accepted_jobs_are_those_that_ended_and_those_in_the_queue_at_any_time() -> None:
    async def test(front: Front, _: FastAPI, registry: CollectorRegistry) -> None:
        source, held = random.Random(5), []
        for _ in range(300):
            if source.random() < 0.6 and front.ledger.sequences <= 28:
                held += front.submit([job(front, source.choice((64, 128)), source.choice((1.0, 4.0)))])
            elif held:
                each = held.pop(source.randrange(len(held)))
                match source.randrange(3):
                    case 0:
                        front.give_up([each], source.choice((Outcome.CANCELLED, Outcome.EXPIRED)))
                    case 1:
                        front.ledger.started(Started((each.job.id,), 0.0))
                        held.append(each)
                    case _:
                        front.worker_told(front._workers[0], JobEnd(each.job.id, Outcome.FAILED))
            ended = sum(total(registry, "dit_jobs_total").values())
            jobs = [value for value in queue(registry, "jobs").values() if value is not None]
            assert registry.get_sample_value("dit_jobs_accepted_total") == ended + sum(jobs)
            assert sum(jobs) == len(front.ledger)

    world(test)


def test_a_refusal_is_counted_once_by_its_reason_and_as_a_request() -> None:
    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        body = (b'{"class_id": 1, "n": 16}',)
        front.submit([job(front) for _ in range(8)])
        headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
        answer = await ask(app, "POST", "/generate", headers, body)
        assert answer.status == 429
        assert registry.get_sample_value("dit_refused_requests_total", {"reason": "queue-full"}) == 1
        assert registry.get_sample_value("dit_retry_after_seconds_sum") == int(answer.headers["retry-after"])
        labels = {"route": "/generate", "status": "429", "protocol": "dit"}
        assert registry.get_sample_value("dit_http_requests_total", labels) == 1
        assert total(registry, "dit_requests_total")["refused"] == 1

    world(test)


def test_a_deadline_is_judged_while_no_worker_is_up() -> None:
    async def test(front: Front, _: FastAPI, registry: CollectorRegistry) -> None:
        deadline = asyncio.get_running_loop().time() + 3600
        assert len(front.submit([job(front)], deadline)) == 1

    world(test)


def test_workers_models_and_readiness_are_told() -> None:
    async def test(front: Front, _: FastAPI, registry: CollectorRegistry) -> None:
        assert registry.get_sample_value("dit_ready") == 0
        assert [registry.get_sample_value("dit_worker_up", {"worker": number}) for number in "01"] == [0, 0]
        labels = {"model": "fake-128", "resolution": "128", "dtype": "float32", "sha256": "00" * 32}
        assert registry.get_sample_value("dit_model_info", labels) == 1

    world(test)


def test_the_number_of_series_is_bounded_whatever_is_asked() -> None:
    """100,000 requests of random methods and paths, none of which comes twice unless it is one of ours."""

    async def test(front: Front, app: FastAPI, registry: CollectorRegistry) -> None:
        source = random.Random(11)
        ours = ("/generate", "/livez", "/v1/models", "/v1/classes", "/", "/readyz", "/nothing")

        async def some(count: int) -> int:
            for _ in range(count):
                path = source.choice(ours) if source.random() < 0.1 else f"/{source.randbytes(6).hex()}"
                headers = [(b"x-request-id", source.randbytes(4).hex().encode()), (b"host", source.randbytes(4))]
                await ask(app, source.choice(METHODS), path, headers)
            return sum(1 for family in registry.collect() for _ in family.samples)

        early = await some(REQUESTS // 10)
        assert await some(REQUESTS - REQUESTS // 10) == early < 400
        assert registry.get_sample_value("dit_requests_received_total") == REQUESTS
        assert sum(total(registry, "dit_requests_total").values()) == REQUESTS
        routes = {sample.labels["route"] for sample in samples(registry, "dit_http_requests_total")}
        assert "other" in routes
        assert routes < {*ours, "other"}

    world(test)


def samples(registry: CollectorRegistry, name: str) -> list[Any]:
    return [each for family in registry.collect() for each in family.samples if each.name == name]


def total(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """The values of a metric with one label, by that label."""
    return {next(iter(each.labels.values())): each.value for each in samples(registry, name)}
