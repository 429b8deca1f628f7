"""Sections' processes: side by side, cut, killed with what started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.processes import LOG_BYTES, ROOT, end_of, environment, read, side_by_side
from benchmarks.gpu.sections import SECTIONS, Outcome, Section

BY_NAME = {section.name: section for section in SECTIONS}


def run(section: Section, work: Path, limit: float) -> tuple[Outcome, dict[str, Any]]:
    """Return what became of one section alone."""
    [(_, outcome, about)] = side_by_side([section], "cpu", work, limit)
    return outcome, about


def as_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let sections' processes import this code as their torch: it is the first thing that they do."""
    (folder / "torch.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_sections_run_at_once_and_one_that_fails_or_overruns_costs_its_own_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    code = f"""
import sys, time
name = sys.argv[2]
if name == "bytes":
    raise ValueError("broken")
if name == "quality":
    time.sleep(600)
open({str(tmp_path / "fifo")!r}, "w" if name == "ops" else "r")  # returns when both are there
sys.exit("met")
"""
    as_torch(tmp_path, monkeypatch, code)
    (tmp_path / "quality.rows").write_text('{"machine": {}}\n{"error": 1}\n', encoding="utf-8")
    sections = [BY_NAME[name] for name in ("quality", "ops", "fp8", "invariance", "bytes")]
    found = {section.name: outcome for section, outcome, _ in side_by_side(sections, "cpu", tmp_path, 6.0)}
    assert {name: outcome.status for name, outcome in found.items()} == {
        "ops": "failed: met", "invariance": "failed: met", "bytes": "failed: ValueError: broken",
        "quality": "cut: its time was over after 6 s", "fp8": "not on this device",
    }
    assert list(found)[-1] == "quality"  # the others did not wait for it
    assert found["quality"].rows == [{"error": 1}]


def test_sections_end_with_the_process_that_started_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    code = f"""
import subprocess, sys, time
out = open({str(tmp_path / "fifo")!r}, "w")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], stdout=out)  # as a server would be
time.sleep(10)
out.write("outlived it")
"""
    as_torch(tmp_path, monkeypatch, code)
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--only", "ceilings", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT) as whole, (tmp_path / "fifo").open(encoding="utf-8") as fifo:
        whole.kill()
        assert fifo.read() == ""  # at the end of both that held the other end


def test_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"first\n" + b"x" * (LOG_BYTES - 5) + b"\xfflast")
    text = end_of(tmp_path / "log")
    assert len(text) == LOG_BYTES
    assert text.endswith("x\ufffdlast")
    assert end_of(tmp_path / "absent") == ""


def test_a_section_that_overruns_is_cut_and_keeps_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "steps.rows").write_text('{"machine": {}}\n{"sequences": 1}\n{"sequen', encoding="utf-8")
    outcome, _ = run(BY_NAME["steps"], tmp_path, limit=0.0)
    assert outcome.status == "cut: its time was over after 0 s"
    assert outcome.rows == [{"sequences": 1}]


def test_a_section_that_is_cut_logs_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_torch(tmp_path, monkeypatch, "import time\n\ntime.sleep(600)\n")
    outcome, _ = run(BY_NAME["steps"], tmp_path, limit=5.0)
    assert outcome.status == "cut: its time was over after 5 s"
    log = (tmp_path / "steps.log").read_text(encoding="utf-8")
    assert 'torch.py", line 3 in <module>' in log
    assert "in section_here" in log


def test_a_section_that_fails_says_why(tmp_path: Path) -> None:
    outcome, about = run(BY_NAME["steps"], tmp_path, limit=120.0)
    assert outcome.status.startswith("failed: dit_serve.models.errors.CheckpointError: ")  # there are no weights
    assert "Traceback (most recent call last):" in (tmp_path / "steps.log").read_text(encoding="utf-8")
    assert outcome.rows == []
    assert about["threads"] >= 1


def test_caches_of_the_environment_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/kept")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    found = environment("cuda", tmp_path)
    assert found["TRITON_CACHE_DIR"] == "/kept"
    assert found["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")


def test_a_line_that_was_not_written_whole_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"a": 1}\n{"a": 2}\n{"a"', encoding="utf-8")
    assert read(tmp_path / "rows") == [{"a": 1}, {"a": 2}]
    assert read(tmp_path / "absent") == []
