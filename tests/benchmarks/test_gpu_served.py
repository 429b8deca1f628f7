"""The section that asks the real service: its figures, and what it says where the service cannot be had."""

from __future__ import annotations

import importlib.util
from queue import SimpleQueue

import pytest

from benchmarks.gpu import served
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.verdict import SERVED


def lines_of(*lines: str) -> SimpleQueue[str]:
    found = SimpleQueue[str]()
    for line in (*lines, ""):
        found.put(line)
    return found


def test_the_service_answers_with_every_figure(bench: Bench) -> None:
    rows = list(served.rows(bench, ""))
    assert [(row["what"], row["unit"]) for row in rows] == [
        ("start-up", "s"), ("one image, 5 steps", "ms"), ("2 at once, 2 steps", "images/s"),
        ("2 at once, 5 steps", "images/s"),
    ]
    assert {(row["contender"], row["resolution"]) for row in rows} == {(SERVED, 64)}
    assert all(row["value"] > 0 for row in rows)


def test_another_precision_is_asked_of_the_server_whose_last_words_are_told(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match=r"ended before it was ready: dit serve: precision fp8 needs an NVIDIA card"):
        list(served.rows(bench, "fp8"))  # there is none


def test_what_the_service_needs_and_is_not_there_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("fastapi", "pydantic") else find(name)
    )
    with pytest.raises(ModuleNotFoundError, match=r"^the service needs pydantic, fastapi$"):
        next(served.rows(bench, ""))


def test_the_words_of_a_server_that_ends_early_are_told() -> None:
    lines = lines_of('{"event": "metrics_listening"}\n', "Traceback\n", "3\n", "CheckpointError: no weights\n", "\n")
    with pytest.raises(RuntimeError, match="ended before it was ready: CheckpointError: no weights"):
        served.told_of("ready", lines)


def test_an_event_is_found_among_other_lines() -> None:
    lines = lines_of("warming up\n", '{"event": "listening", "port": 7}\n', '{"event": "ready"}\n')
    assert served.told_of("listening", lines)["port"] == 7
    assert served.told_of("ready", lines) == {"event": "ready"}
