"""The files of docker/ that Prometheus and Grafana read, and the expressions in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
BOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
_STRING = re.compile(r'"[^"]*"')
_NAME = re.compile(r"\b(dit[_:][a-z0-9_:]+)")


def board(path: Path) -> dict[str, Any]:
    """A dashboard."""
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard that show something: all but the headings of rows."""
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def expressions(path: Path) -> Iterator[tuple[str, str]]:
    """Each expression of a dashboard as (panel's title, PromQL as Grafana would send it)."""
    for panel in panels(path):
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield panel["title"], expr


def rules() -> list[dict[str, Any]]:
    """All rules, recorded series before alerts."""
    groups = yaml.safe_load((DOCKER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def names(expr: str) -> set[str]:
    """The names of our metrics in an expression."""
    return set(_NAME.findall(_STRING.sub("", expr)))
