"""docker-compose.yml as Docker Compose itself reads it, and what it must agree on with the files that it mounts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dit_serve.service.settings import Settings
from tests.system.containers import ROOT, TOOLS, run

pytestmark = pytest.mark.system

ALWAYS = {"nginx", "prometheus", "grafana"}
Service = dict[str, Any]


def resolved(**variables: str) -> dict[str, Any]:
    """The file with all variables put in and checked against the compose specification."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | variables
    told: dict[str, Any] = json.loads(run([str(TOOLS / "docker-compose"), "config", "--format", "json"], environment))
    return told


def services() -> dict[str, Service]:
    """Every service, whatever its profile."""
    found: dict[str, Service] = resolved(COMPOSE_PROFILES="cpu,gpu")["services"]
    return found


def nginx_says(directive: str) -> str:
    """The value of a directive of docker/nginx.conf that stands there once."""
    (value,) = re.findall(rf"^\s*{directive} (.+);", (ROOT / "docker" / "nginx.conf").read_text(), re.MULTILINE)
    return str(value)


def test_the_processor_is_the_default_and_the_profile_gpu_takes_its_place() -> None:
    assert set(resolved()["services"]) == ALWAYS | {"dit"}
    assert set(resolved(COMPOSE_PROFILES="gpu")["services"]) == ALWAYS | {"dit-gpu"}


def test_the_profile_gpu_reserves_the_nvidia_cards_for_the_published_models() -> None:
    gpu = services()["dit-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], device["count"]) == ("nvidia", ["gpu"], -1)
    assert gpu["environment"]["DIT_MODELS"] == "facebook/DiT-XL-2-256,facebook/DiT-XL-2-512"


@pytest.mark.parametrize("name", [*sorted(ALWAYS), "dit", "dit-gpu"])
def test_a_service_is_hardened_limited_and_started_again(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert "cap_add" not in service
    assert "privileged" not in service
    has_health_check_in_its_image = "build" in service
    assert has_health_check_in_its_image or service["healthcheck"]["test"][0] == "CMD"


def test_only_the_front_and_grafana_are_published_and_only_on_loopback() -> None:
    published = {name: [port["host_ip"] for port in service.get("ports", [])] for name, service in services().items()}
    assert published == {name: ["127.0.0.1"] if name in ("nginx", "grafana") else [] for name in published}


def test_every_mounted_file_is_there() -> None:
    binds = [mount["source"] for service in services().values()
             for mount in service.get("volumes", []) if mount["type"] == "bind"]
    assert len(binds) >= 5
    assert [source for source in binds if not Path(source).exists()] == []


def test_without_a_key_file_the_stack_starts_open_and_with_one_it_is_read() -> None:
    without, with_one = resolved(), resolved(API_KEYS_FILE="/keys")
    assert without["services"]["dit"]["environment"]["DIT_API_KEYS_FILE"] == ""
    assert Path(without["secrets"]["api_keys"]["file"]).exists()
    assert with_one["services"]["dit"]["environment"]["DIT_API_KEYS_FILE"] == "/run/secrets/api_keys"
    assert with_one["secrets"]["api_keys"]["file"] == "/keys"


@pytest.mark.parametrize("name", ["dit", "dit-gpu"])
def test_the_service_has_time_to_drain_and_the_front_a_little_more(name: str) -> None:
    assert seconds(services()["nginx"]["stop_grace_period"]) > seconds(services()[name]["stop_grace_period"])
    assert seconds(services()[name]["stop_grace_period"]) > Settings().drain_seconds


def seconds(text: str) -> int:
    """A duration as compose writes it, for example 1m15s."""
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups(default="0")  # type: ignore[union-attr]
    return 60 * int(minutes) + int(rest)


def test_nginx_has_the_limits_of_the_service() -> None:
    limits = Settings().limits
    assert nginx_says("client_header_timeout") == f"{limits.header_seconds:.0f}s"
    assert nginx_says("client_body_timeout") == f"{limits.body_seconds:.0f}s"
    assert nginx_says("send_timeout") == f"{limits.write_seconds:.0f}s"
    assert nginx_says("client_max_body_size") == f"{limits.max_body_bytes >> 10}k"
    count, size = nginx_says("large_client_header_buffers").split()
    assert int(count) * int(size.removesuffix("k")) << 10 == limits.max_header_bytes


def test_prometheus_asks_each_service_on_its_metrics_port() -> None:
    (job,) = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert names["port"] == Settings().metrics_port
    assert set(names["names"]) == set(services()) - ALWAYS
