"""`make up` with podman-compose: the whole stack, less Grafana, whose image no Debian package makes."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.running import PATIENCE_SECONDS, free_port
from tests.system.containers import NGINX, PROMETHEUS, ROOT, TOOLS, Containers, run
from tests.system.prometheus import until

pytestmark = pytest.mark.system

PROJECT = "dit-serve-test"
SERVICES = ("dit", "nginx", "prometheus")
SEVEN = {"class_id": 7, "cfg": 4, "steps": 20, "seed": 1}


@dataclass(frozen=True, slots=True)
class Stack:
    """What was brought up.

    Attributes:
        port: of nginx, on loopback.
    """

    containers: Containers
    environment: dict[str, str]
    port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, *, is_known: bool = True) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"} if is_known else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)

    def is_ready(self) -> bool:
        """Whether the front answers, and the service behind it takes work."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=PATIENCE_SECONDS, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def outcomes(self, steps: int) -> list[str]:
        """How the service's jobs of so many steps ended, read from its log; podman says it on the standard error."""
        command = ["sh", "-c", f"podman logs {name_of('dit')} 2>&1"]
        lines = [json.loads(line) for line in run(command, self.environment).splitlines() if line.startswith("{")]
        return [line["outcome"] for line in lines if line.get("event") == "job_end" and line["steps"] == steps]

    def inspect(self, service: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.containers.podman("container", "inspect", name_of(service)))[0]
        return told

    def prometheus(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus answers; it is not published, so it is asked from inside."""
        url = f"http://127.0.0.1:9090/api/v1/query?query={query}"
        told = json.loads(self.containers.podman("exec", name_of("prometheus"), "wget", "-q", "-O", "-", url))
        assert told["status"] == "success", told
        results: list[dict[str, Any]] = told["data"]["result"]
        return results


def name_of(service: str) -> str:
    return f"{PROJECT}_{service}_1"


@pytest.fixture(scope="module")
def stack(containers: Containers) -> Iterator[Stack]:
    """The stack, ready, with the key that `make up` made."""
    containers.build_service()
    containers.build(NGINX)
    containers.build(PROMETHEUS)
    port = free_port()
    environment = containers.environment | {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "FRONT_PORT": str(port),
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
    }
    compose = f"COMPOSE={TOOLS / 'podman-compose'}"
    run(["make", "up", compose, f"UP=--no-build {' '.join(SERVICES)}"], environment)
    try:
        key = (ROOT / "docker" / "secrets" / "api_keys").read_text().strip()
        up = Stack(containers, environment, port, key)
        until(up.is_ready, "a stack that is ready")
        yield up
    finally:
        run(["make", "down", compose], environment)


def test_a_picture_comes_through_the_front_for_a_key_alone(stack: Stack) -> None:
    with stack.client(is_known=False) as stranger, stack.client() as known:
        assert stranger.get("/readyz").status_code == 200
        assert stranger.post("/generate", json=SEVEN).status_code == 401
        answer = known.post("/generate", json=SEVEN)
        assert answer.status_code == 200, answer.text
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)


def test_a_stream_is_not_held_back_and_a_client_that_leaves_is_noticed(stack: Stack) -> None:
    """Both in one: what was given up after its first progress was not finished when that progress arrived."""
    with (
        stack.client() as client,
        client.stream("POST", "/generate", json=SEVEN | {"steps": 1000, "resolution": 128},
                      headers={"accept": "text/event-stream"}) as answer,
    ):
        assert "event: progress" in answer.iter_lines()
    until(lambda: stack.outcomes(steps=1000) != [], "the end of a job of 1000 steps")
    assert stack.outcomes(steps=1000) == ["cancelled"]


def test_the_front_stops_a_body_that_is_too_large(stack: Stack) -> None:
    with stack.client() as client:
        assert client.post("/generate", content=b" " * (17 << 10)).status_code == 413


def test_the_front_puts_out_a_client_that_does_not_finish_its_headers(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE_SECONDS) as slow:
        slow.sendall(b"POST /generate HTTP/1.1\r\nHost: front\r\n")
        assert slow.recv(1 << 16) == b""


def test_the_metrics_are_not_to_be_had_through_the_front(stack: Stack) -> None:
    with stack.client() as client:
        assert client.get("/metrics").status_code == 404


def test_prometheus_scrapes_the_service_by_its_name(stack: Stack) -> None:
    until(lambda: any(target["value"][1] == "1" for target in stack.prometheus("up")), "a target that is up")
    assert {(up["metric"]["job"], up["metric"]["service"]) for up in stack.prometheus("up")} == {("dit", "dit")}
    assert stack.prometheus("dit_build_info") != []


def test_only_the_front_is_published_and_only_on_loopback(stack: Stack) -> None:
    bindings = {name: stack.inspect(name)["HostConfig"]["PortBindings"] for name in SERVICES}
    assert {name: {port: hosts for port, hosts in ports.items() if hosts} for name, ports in bindings.items()} == {
        "dit": {},
        "prometheus": {},
        "nginx": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]},
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_healthy_and_has_its_limits(stack: Stack, name: str) -> None:
    until(lambda: is_healthy(stack, name), f"{name} is healthy")
    told = stack.inspect(name)
    assert told["HostConfig"]["ReadonlyRootfs"] is True
    assert told["EffectiveCaps"] in ([], None)
    assert told["HostConfig"]["Memory"] > 0
    assert told["HostConfig"]["PidsLimit"] > 0


def is_healthy(stack: Stack, name: str) -> bool:
    """Whether the health check says so, run once now."""
    said = run(["sh", "-c", f"podman healthcheck run {name_of(name)} && echo healthy || true"], stack.environment)
    return said.endswith("healthy\n") and "unhealthy" not in said
