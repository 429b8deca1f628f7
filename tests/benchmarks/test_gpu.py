"""The run as a whole, dry: one process a section, its limits, and the report that is always written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.__main__ import ROOT, read, run, wanted, write_report
from benchmarks.gpu.sections import SECTIONS, Outcome, Section
from benchmarks.gpu.verdict import GOALS

BY_NAME = {section.name: section for section in SECTIONS}


def dry_run(out: Path, *options: str) -> dict[str, Any]:
    command = [ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--out", out, *options]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable})
    assert (out / "gpu-dry-run.md").read_text(encoding="utf-8").startswith("# A dry run on a processor")
    found: dict[str, Any] = json.loads((out / "gpu-dry-run.json").read_text(encoding="utf-8"))
    return found


def test_a_dry_run_reports_machine_goals_and_sections(tmp_path: Path) -> None:
    found = dry_run(tmp_path, "--only", "ops,graphs")
    assert set(found) == {"machine", "goals", "sections"}
    assert found["machine"]["device"] == "cpu"
    assert {"date", "commit", "driver", "cuda", "python", "torch", "triton", "diffusers"} <= set(found["machine"])
    assert [goal["verdict"] for goal in found["goals"]] == ["not measured"] * len(GOALS)
    assert {name: section["status"] for name, section in found["sections"].items()} == {
        "ceilings": "done", "folders": "done", "ops": "done", "graphs": "not on this device"
    }
    kernels = {row["kernel"].split()[0] for row in found["sections"]["ops"]["rows"]}
    assert kernels == {
        "layernorm_modulate", "gate_residual_layernorm_modulate", "attention", "linear",
        "sampler_step", "groupnorm_silu",
    }
    assert all(row["is_within"] for row in found["sections"]["ops"]["rows"])


@pytest.mark.slow
def test_a_whole_dry_run_comes_to_the_end_of_every_section(tmp_path: Path) -> None:
    found = dry_run(tmp_path)
    assert set(found["sections"]) == set(BY_NAME)
    statuses = {name: section["status"] for name, section in found["sections"].items()}
    assert {name for name, status in statuses.items() if status != "done"} == {"graphs"}
    assert all(section["rows"] for name, section in found["sections"].items() if name != "graphs")


def test_the_timetable_ends_within_nine_minutes() -> None:
    assert sum(section.seconds for section in SECTIONS) <= 530


def test_a_section_that_overruns_is_cut_and_keeps_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "steps.rows").write_text('{"machine": {}}\n{"sequences": 1}\n{"sequen', encoding="utf-8")
    outcome, _ = run(BY_NAME["steps"], "cpu", tmp_path, limit=0.0)
    assert outcome.status == "cut: its time was over after 0 s"
    assert outcome.rows == [{"sequences": 1}]


def test_a_section_that_fails_says_why(tmp_path: Path) -> None:
    outcome, about = run(Section("steps", "Steps", "gpu.steps.rows", 1), "cpu", tmp_path, limit=120.0)
    assert outcome.status.startswith("failed: dit_serve.models.errors.CheckpointError")  # there are no weights
    assert outcome.rows == []
    assert about["threads"] >= 1


def test_a_line_that_was_not_written_whole_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"a": 1}\n{"a": 2}\n{"a"', encoding="utf-8")
    assert read(tmp_path / "rows") == [{"a": 1}, {"a": 2}]
    assert read(tmp_path / "absent") == []


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
