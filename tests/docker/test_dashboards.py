"""The dashboards, as far as they can be read without Grafana: whole, without overlap, and about metrics that exist."""

from __future__ import annotations

import asyncio
import logging
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from dit_serve.service.front.front import Front
from dit_serve.service.front.state_metrics import StateCollector
from dit_serve.service.http.connection_metrics import ConnectionCollector
from dit_serve.service.http.connections import Bounds, Connections
from dit_serve.service.telemetry.gpu_metrics import GpuCollector
from dit_serve.service.telemetry.log_metrics import LogCollector
from dit_serve.service.telemetry.logs import LineWriter
from dit_serve.service.telemetry.metrics import Metrics
from dit_serve.service.telemetry.sampling import RefusalSampler
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.wire.messages import Configure
from tests.docker.boards import BOARDS, DOCKER, board, expressions, names, panels, rules
from tests.service.telemetry.test_gpu_metrics import fake_nvml

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}
SOURCE = yaml.safe_load((DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())


def our_names() -> set[str]:
    """The names of all series that the service can tell."""

    async def collect() -> set[str]:
        registry = CollectorRegistry()
        configure = Configure(models=("m",), max_batch_sequences=8)
        front = Front(["unused"], configure, max_queue_sequences=32, metrics=Metrics(registry))
        registry.register(StateCollector(front, Tally()))
        registry.register(LogCollector(LineWriter(2), RefusalSampler(logging.getLogger("dit.request"))))
        registry.register(ConnectionCollector(Connections(Bounds(1, 1, 1))))
        registry.register(GpuCollector(fake_nvml()))
        ProcessCollector(namespace="dit", registry=registry)
        return {family.name + suffix for family in registry.collect() for suffix in SUFFIXES[family.type]}

    return asyncio.run(collect())


def test_there_is_one_dashboard_for_the_service_and_one_for_the_engine() -> None:
    assert {path.stem: board(path)["uid"] for path in BOARDS} == {"service": "dit-service", "engine": "dit-engine"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_have_ids_of_their_own_a_title_a_description_and_a_unit(path: Path) -> None:
    ids = [panel["id"] for panel in board(path)["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCD")[: len(panel["targets"])]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_no_panel_lies_on_another_or_leaves_the_grid(path: Path) -> None:
    def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        return not beside and not below

    places = [panel["gridPos"] for panel in board(path)["panels"]]
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_everything_asks_the_provisioned_source(path: Path) -> None:
    (source,) = SOURCE["datasources"]
    asked: list[Any] = [part["datasource"] for panel in panels(path) for part in (panel, *panel["targets"])]
    asked += [variable["datasource"] for variable in board(path)["templating"]["list"]]
    assert all(each == {"type": source["type"], "uid": source["uid"]} for each in asked)


def test_the_rate_interval_is_made_from_the_scrape_interval() -> None:
    prometheus = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    (source,) = SOURCE["datasources"]
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_metric_of_a_dashboard_exists(path: Path) -> None:
    known = our_names()
    for title, expr in expressions(path):
        assert names(expr), title
        assert names(expr) <= known, title


def test_every_metric_of_a_rule_exists() -> None:
    known = our_names() | {rule["record"] for rule in rules() if "record" in rule}
    assert set().union(*(names(rule["expr"]) for rule in rules())) <= known


def test_every_metric_of_ours_is_on_a_dashboard_or_in_a_rule() -> None:
    """What nobody looks at is not worth its series."""
    shown = set().union(*(names(expr) for path in BOARDS for _, expr in expressions(path)))
    shown |= set().union(*(names(rule["expr"]) for rule in rules()))
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in our_names()}
    told = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in shown}
    left_out = {"dit_gpu_info", "dit_jobs_accepted_total", "dit_requests_received_total", "dit_requests_total"}
    process = {name for name in families if name.startswith("dit_process_")}
    assert families - told - process == left_out  # the sums that accounts are checked by, and a name
