"""Dashboards and alerts on a real Prometheus that watches a real `dit serve` with the demo models under load."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from tests.docker.boards import BOARDS, DOCKER, expressions, rules
from tests.service.running import Running, running
from tests.system.prometheus import Prometheus, prometheus, tool, until

pytestmark = pytest.mark.system

# Panels and an alert that show nothing where there is no card. What they ask exists: tests/docker looks.
WITHOUT_A_GPU = {"GPU memory", "GPU utilisation", "GPU power", "Energy of an image", "DitGpuMemoryFull"}
LARGE = {"class_id": 2, "steps": 30, "n": 16, "cfg": 2}  # more than half of the queue: the second is refused
REQUESTS: tuple[tuple[dict[str, object], str], ...] = (
    ({"class_id": 7, "steps": 10}, "image/png"),
    ({"class_id": 3, "steps": 10, "resolution": 128, "cfg": 1}, "image/png"),
    ({"class_id": 9, "steps": 10, "model": "fashion-64"}, "image/png"),
    ({"class_id": 1, "steps": 20, "preview_every": 5}, "text/event-stream"),
    ({"class_id": 1000}, "image/png"),
    ({"class_id": 4, "steps": 50, "deadline_ms": 1}, "image/png"),
    (LARGE, "application/json"),
)


@dataclass(slots=True)
class Load:
    """Clients that ask for everything, again and again, and what they were answered."""

    server: Running
    statuses: Counter[int] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, pool: ThreadPoolExecutor) -> None:
        """Starts them."""
        for number in range(6):
            pool.submit(self._ask, number)

    def stop(self) -> None:
        """Each finishes what it is at."""
        self._stop.set()

    def _ask(self, number: int) -> None:
        with self.server.client() as client:
            while not self._stop.is_set():
                body, accept = REQUESTS[number % len(REQUESTS)]
                status = client.post("/generate", json=body, headers={"Accept": accept}).status_code
                with self._lock:
                    self.statuses[status] += 1
                number += 1


@dataclass(frozen=True, slots=True)
class Watched:
    """A service under load, and the Prometheus that watches it."""

    server: Running
    prometheus: Prometheus
    load: Load
    metrics_address: str


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    command = [sys.executable, "-m", "dit_serve", "serve", "--port", "0", "--metrics-port", "0", "--devices", "cpu",
               "--max-queue-sequences", "40", "--max-batch-sequences", "16"]
    with running(command) as server, ThreadPoolExecutor(6) as pool:
        (line,) = [line for line in server.seen if line.get("event") == "metrics_listening"]
        address = f"127.0.0.1:{line['port']}"
        load = Load(server)
        with prometheus(address, tmp_path_factory.mktemp("prometheus")) as asked:
            until(lambda: asked.query("up") == [1.0], "the service is scraped")
            load.run(pool)
            try:
                yield Watched(server, asked, load, address)
            finally:
                load.stop()


def test_every_panel_has_data_under_load(watched: Watched) -> None:
    until(lambda: bool(watched.prometheus.query("sum(dit_images_total) > 0")), "an image is made")
    os.kill(watched.server.worker_pid, signal.SIGKILL)
    panels = [each for path in BOARDS for each in expressions(path)]
    assert {title for title, _ in panels} > WITHOUT_A_GPU - {"DitGpuMemoryFull"}
    for title, expr in panels:
        if title in WITHOUT_A_GPU:
            assert watched.prometheus.query(expr) == [], title  # it is understood
        else:
            until(lambda expr=expr: bool(watched.prometheus.query(expr)), f"{title} has data: {expr}")


def test_what_was_done_to_the_service_is_seen(watched: Watched) -> None:
    for expr in (
        "sum(dit_worker_restarts_total) >= 1",
        "sum(dit_job_replays_total) >= 1",
        "sum(dit_previews_total) >= 1",
        'sum(dit_refused_requests_total{reason="queue-full"}) >= 1',
        'sum(dit_refused_requests_total{reason="deadline-too-short"}) >= 1',
        'sum(dit_http_requests_total{status="422"}) >= 1',
        "sum(dit_modulation_cache_hits_total) >= 1",
        "min(sum by (model) (dit_images_total)) >= 1",
    ):
        until(lambda expr=expr: bool(watched.prometheus.query(expr)), expr)


def test_every_rule_is_evaluated_and_has_data(watched: Watched) -> None:
    until(lambda: all(rule["health"] == "ok" for rule in watched.prometheus.rules()), "all rules were evaluated")
    told = {rule["name"] for rule in watched.prometheus.rules()}
    assert told == {rule.get("alert", rule.get("record")) for rule in rules()}
    for rule in rules():
        if rule.get("alert") in WITHOUT_A_GPU:
            continue
        # An alert's comparison leaves nothing while all is well: as a number it says 0 or 1 of what it looked at.
        expr = re.sub(r"(==|>) ", r"\1 bool ", rule["expr"]) if "alert" in rule else rule["record"]
        until(lambda expr=expr: bool(watched.prometheus.query(expr)), f"data for {expr}")


def test_prometheus_and_the_clients_count_the_same(watched: Watched) -> None:
    watched.load.stop()
    until(lambda: watched.prometheus.query("sum(dit_requests_in_progress)") == [0.0], "the last request has ended")
    statuses = watched.load.statuses
    until(lambda: watched.prometheus.query("sum(dit_requests_received_total)") == [statuses.total()], "it was scraped")
    for status, count in statuses.items():
        expr = f'sum(dit_http_requests_total{{route="/generate",status="{status}"}})'
        assert watched.prometheus.query(expr) == [count], (status, statuses)


def test_the_names_are_as_prometheus_wants_them(watched: Watched) -> None:
    text = httpx.get(f"http://{watched.metrics_address}/metrics", trust_env=False).text
    assert promtool("check", "metrics", given=text) == ""


@pytest.mark.parametrize(
    "command", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_promtool_agrees(command: str) -> None:
    assert "SUCCESS" in promtool(*command.split())


def promtool(*arguments: str, given: str = "") -> str:
    """What promtool says of files in docker/, or of a text."""
    ended = subprocess.run(
        [tool("promtool"), *arguments], cwd=DOCKER, input=given, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
