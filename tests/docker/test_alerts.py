"""The alerts, as far as they can be read without Prometheus: each has its test, and its paragraph for who is woken."""

from __future__ import annotations

import re

import yaml

from tests.docker.boards import DOCKER, rules

RUNBOOK = (DOCKER.parent / "docs" / "alerts.md").read_text()
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_every_alert_has_its_paragraph_and_every_paragraph_its_alert() -> None:
    paragraphs = re.findall(r"^## (\w+)\n\n(?=\w)", RUNBOOK, re.MULTILINE)
    assert paragraphs == list(ALERTS)


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() -> None:
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} < alert["annotations"].keys()
        assert alert["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    tests = yaml.safe_load((DOCKER / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


def test_links_within_the_runbook_lead_somewhere() -> None:
    targets = set(re.findall(r"\]\(#(\w+)\)", RUNBOOK))
    assert targets <= {name.lower() for name in ALERTS}
