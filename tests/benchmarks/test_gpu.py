"""The run as a whole, dry: its timetable, and the report that is always written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import benchmarks.gpu.__main__ as whole
from benchmarks.gpu.__main__ import ROOT, wanted, write_report
from benchmarks.gpu.processes import Ended
from benchmarks.gpu.sections import SECTIONS, Outcome, Section, turns
from benchmarks.gpu.verdict import GOALS

BY_NAME = {section.name: section for section in SECTIONS}


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}


def dry_run(out: Path, *options: str) -> dict[str, Any]:
    command = [ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--out", out, *options]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    assert (out / "gpu-dry-run.md").read_text(encoding="utf-8").startswith("# A dry run on a processor")
    found: dict[str, Any] = json.loads((out / "gpu-dry-run.json").read_text(encoding="utf-8"))
    return found


def test_a_dry_run_reports_machine_goals_and_sections(tmp_path: Path) -> None:
    found = dry_run(tmp_path, "--only", "ops,fp8")
    assert set(found) == {"machine", "goals", "sections"}
    assert found["machine"]["device"] == "cpu"
    assert {"date", "commit", "driver", "cuda", "python", "torch", "triton", "diffusers"} <= set(found["machine"])
    assert [goal["verdict"] for goal in found["goals"]] == ["not measured"] * len(GOALS)
    assert {name: section["status"] for name, section in found["sections"].items()} == {
        "ceilings": "done", "folders": "done", "ops": "done", "fp8": "not on this device"
    }
    kernels = {row["kernel"].split()[0] for row in found["sections"]["ops"]["rows"]}
    assert kernels == {
        "layernorm_modulate", "gate_residual_layernorm_modulate", "attention", "linear",
        "sampler_step", "groupnorm_silu", "add_bias",
    }
    assert all(row["is_within"] for row in found["sections"]["ops"]["rows"])


@pytest.mark.slow
def test_a_whole_dry_run_comes_to_the_end_of_every_section(tmp_path: Path) -> None:
    found = dry_run(tmp_path)
    assert set(found["sections"]) == set(BY_NAME)
    on_a_card = {section.name for section in SECTIONS if section.needs_card}
    statuses = {name: section["status"] for name, section in found["sections"].items()}
    assert {name for name, status in statuses.items() if status != "done"} == on_a_card
    assert {name for name, section in found["sections"].items() if not section["rows"]} <= {*on_a_card, "linear"}
    assert not [row for section in found["sections"].values() for row in section["rows"] if "failed" in row]


def test_a_first_section_that_fails_costs_its_own_figures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Section("unheard-of", "First", "gpu.nowhere.rows", 60)  # its process knows no such section
    monkeypatch.setattr(whole, "SECTIONS", (first, BY_NAME["ceilings"], BY_NAME["folders"]))
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--out", str(tmp_path)])
    whole.main()
    found = json.loads((tmp_path / "gpu-dry-run.json").read_text(encoding="utf-8"))
    statuses = {name: section["status"] for name, section in found["sections"].items()}
    assert statuses == {"unheard-of": "failed: StopIteration", "ceilings": "done", "folders": "done"}
    assert "## First\n\nfailed: StopIteration" in (tmp_path / "gpu-dry-run.md").read_text(encoding="utf-8")
    log = (tmp_path / "gpu-dry-run.log").read_text(encoding="utf-8")
    assert log.startswith("== unheard-of: failed: StopIteration\nTraceback (most recent call last):")
    assert "\n== ceilings: done\n" in log


def test_where_no_section_can_name_the_card_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    out = {**ENVIRONMENT, "OUT": str(tmp_path / "new"), "CUDA_VISIBLE_DEVICES": ""}  # no card, wherever this is run
    subprocess.run([ROOT / "benchmarks" / "gpu.sh", "--only", "ceilings"], check=True, capture_output=True, env=out)
    [report] = (tmp_path / "new").glob("gpu-20*.json")
    found = json.loads(report.read_text(encoding="utf-8"))
    assert set(found["sections"]) == {"ceilings", "folders"}
    assert all(section["status"].startswith("failed: ") for section in found["sections"].values())
    text = report.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Measured on a card that no section could name")
    log = report.with_suffix(".log").read_text(encoding="utf-8")
    assert log.count("\nTraceback (most recent call last):") == 2


def test_the_timetable_leaves_a_machine_time_to_start_within_nine_minutes() -> None:
    assert sum(max(section.seconds for section in turn) for turn in turns(SECTIONS, "cuda")) <= 590


def test_comparisons_have_one_turn_on_a_card_before_all_that_is_timed() -> None:
    found = [[section.name for section in turn] for turn in turns(SECTIONS, "cuda")]
    group = ["ops", "invariance", "fp8-invariance", "bytes", "pictures", "quality"]
    assert found[:4] == [["ceilings"], ["folders"], group, ["steps"]]
    assert {len(turn) for turn in found[3:]} == {1}
    assert {len(turn) for turn in turns(SECTIONS, "cpu")} == {1}


def test_only_comparisons_in_a_row_have_one_turn() -> None:
    some = wanted("ops,quality,steps")
    assert [len(turn) for turn in turns(some, "cuda")] == [1, 1, 2, 1]
    assert [len(turn) for turn in turns([some[2], some[4], some[3]], "cuda")] == [1, 1, 1]


def test_the_report_is_in_the_order_of_the_timetable_whatever_ends_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(turn: list[Section], *_: object) -> Iterator[Ended]:
        for section in reversed(turn):
            yield section, Outcome(section.title, "done", 1.0, []), {}

    monkeypatch.setattr(whole, "side_by_side", backwards)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--only", "ops,quality,steps"])
    whole.main()
    [report] = tmp_path.glob("*.json")
    assert list(json.loads(report.read_text(encoding="utf-8"))["sections"]) == [
        "ceilings", "folders", "ops", "quality", "steps"
    ]


def test_only_some_sections_are_run_with_what_they_need() -> None:
    assert [section.name for section in wanted("steps")] == ["ceilings", "folders", "steps"]
    assert list(wanted("")) == list(SECTIONS)
    with pytest.raises(ValueError, match="no such section: stepps"):
        wanted("stepps")


def test_the_report_shows_every_row_and_what_became_of_each_section(tmp_path: Path) -> None:
    rows = [{"name": "a", "ceiling_share": 0.714, "ok": True}, {"name": "b", "ms": 0.123456}]
    outcomes = {"first": Outcome("First", "done", 3.0, rows), "second": Outcome("Second", "cut: too long", 9.0, [])}
    write_report(tmp_path / "new", "r", {"device": "cuda", "card": "A card"}, outcomes)
    text = (tmp_path / "new" / "r.md").read_text(encoding="utf-8")
    assert "# Measured on A card" in text
    assert "| name | ceiling share | ok | ms |" in text
    assert "| a | 71% | yes | – |" in text
    assert "| b | – | – | 0.1235 |" in text
    assert "## Second\n\ncut: too long, 9 s" in text
    assert json.loads((tmp_path / "new" / "r.json").read_text(encoding="utf-8"))["sections"]["first"]["rows"] == rows
