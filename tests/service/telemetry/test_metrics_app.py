"""The metrics of a real server: on a port of their own, exact while requests come, and whole after a worker's end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dit_serve.service.telemetry.gpu_metrics import GpuCollector
from dit_serve.service.telemetry.metrics_app import metrics_app
from tests.service.asgi import ask
from tests.service.fake import RAISES
from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running
from tests.service.telemetry.test_gpu_metrics import fake_nvml

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(server: Running) -> Values:
    """Every sample that the server tells, by name and labels."""
    (line,) = [line for line in server.seen if line.get("event") == "metrics_listening"]
    url = f"http://127.0.0.1:{line['port']}/metrics"
    text = httpx.get(url, timeout=PATIENCE_SECONDS, trust_env=False).raise_for_status().text
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


def total(values: Values, name: str) -> float:
    return sum(value for (each, _), value in values.items() if each == name)


def check_sums(values: Values) -> None:
    """What holds in every answer, at whatever moment it was made."""
    under_way = value(values, "dit_requests_in_progress")
    assert value(values, "dit_requests_received_total") == total(values, "dit_requests_total") + under_way
    assert total(values, "dit_requests_total") == total(values, "dit_http_requests_total")
    queued = total(values, "dit_queue_jobs")
    assert value(values, "dit_jobs_accepted_total") == total(values, "dit_jobs_total") + queued
    assert total(values, "dit_images_total") == value(values, "dit_jobs_total", outcome="completed")


def test_every_answer_adds_up_while_requests_come() -> None:
    large = {"class_id": 1, "steps": 40, "n": 16}
    bodies = [{"class_id": 1, "steps": 3}, {"class_id": RAISES}, {"class_id": -1}, large]
    with running(fake_command("--max-queue-sequences", "32", "--max-batch-sequences", "4")) as server:

        def work(number: int) -> list[int]:
            with server.client(headers={"Accept": "application/json"}) as client:
                return [client.post("/generate", json=bodies[(number + k) % 4]).status_code for k in range(40)]

        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(work, number) for number in range(6)]
            while not all(answer.done() for answer in answers):
                check_sums(scrape(server))
        statuses = [status for answer in answers for status in answer.result()]
        end = scrape(server)
        check_sums(end)
        assert value(end, "dit_requests_received_total") == len(statuses)
        for status in set(statuses):
            counted = value(end, "dit_http_requests_total", route="/generate", status=str(status), protocol="dit")
            assert counted == statuses.count(status)
        assert {200, 422, 429, 500} == set(statuses)
        assert value(end, "dit_refused_requests_total", reason="queue-full") == statuses.count(429)
        assert total(end, "dit_queue_jobs") == 0


def test_totals_outlive_the_worker() -> None:
    with running(fake_command()) as server, server.client() as client:
        for _ in range(3):
            assert client.post("/generate", json={"class_id": 1, "steps": 5}).status_code == 200
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_until_ready()
        assert client.post("/generate", json={"class_id": 1, "steps": 5}).status_code == 200
        values = scrape(server)
        assert value(values, "dit_images_total", model="fake-64", resolution="64") == 4
        assert value(values, "dit_denoising_steps_total", model="fake-64", resolution="64") == 20
        assert value(values, "dit_worker_restarts_total", worker="0") == 1


def test_the_applications_own_port_tells_no_metrics_and_the_metrics_port_nothing_else() -> None:
    with running(fake_command()) as server, server.client() as client:
        assert client.get("/metrics").status_code == 404
        (line,) = [line for line in server.seen if line.get("event") == "metrics_listening"]
        with httpx.Client(base_url=f"http://127.0.0.1:{line['port']}", trust_env=False) as other:
            assert other.get("/livez").status_code == 404
            assert other.post("/metrics").status_code == 405
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            answer = other.get("/metrics", headers=accept)
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
            assert answer.text.endswith("# EOF\n")
        assert server.terminate() == 0


def test_no_metrics_are_told_where_they_are_switched_off() -> None:
    with running(fake_command("--metrics", "false")) as server, server.client() as client:
        assert client.post("/generate", json={"class_id": 1}).status_code == 200
        assert not [line for line in server.seen if line.get("event") == "metrics_listening"]


def test_a_taken_port_ends_the_start_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AssertionError, match="choose another --metrics-host or --metrics-port"),
            running(fake_command("--metrics-port", str(port))),
        ):
            pass


@pytest.mark.parametrize("header", [(b"accept", b"\xff"), (b"accept-encoding", b"\xfe"), (b"x-\xff", b"")])
def test_a_header_that_is_no_text_harms_no_answer(header: tuple[bytes, bytes]) -> None:
    answer = asyncio.run(ask(metrics_app(CollectorRegistry()), "GET", "/metrics", [header]))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_gpus_are_asked_anew_for_every_answer() -> None:
    watts = iter((100_000, 300_000))
    gpus = GpuCollector(fake_nvml(nvmlDeviceGetCount=lambda: 1, nvmlDeviceGetPowerUsage=lambda handle: next(watts)))
    registry = CollectorRegistry()
    registry.register(gpus)
    app = metrics_app(registry, gpus)
    first, second = (asyncio.run(ask(app, "GET", "/metrics")).body for _ in range(2))
    assert b'dit_gpu_power_watts{gpu="0"} 100.0' in first
    assert b'dit_gpu_power_watts{gpu="0"} 300.0' in second
