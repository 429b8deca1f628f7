"""models/checkpoints/nearest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_serve.models.checkpoints.nearest import hint


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints" / "run-1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "run-1" / "0400000.pt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("checkpoints/run-1/040000.pt", "checkpoints/run-1/0400000.pt"),
        ("checkpoints/run_1/0400000.pt", "checkpoints/run-1/0400000.pt"),
        ("checkpoint/run-1", "checkpoints/run-1"),
        ("checkpoints/run_1/other.pt", "checkpoints/run-1"),
        ("checkpoints/run_1/", "checkpoints/run-1"),
    ],
)
def test_the_first_part_that_is_missing_is_corrected(tree: Path, given: str, meant: str) -> None:
    assert hint(f"{tree}/{given}") == f"; did you mean {tree}/{meant}?"


def test_a_relative_path_stays_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert hint("checkpoint") == "; did you mean checkpoints?"


def test_where_nothing_is_near_it_says_how_far_the_path_leads(tree: Path) -> None:
    assert hint(tree / "zzz" / "0400000.pt") == f"; there is {tree}, and no zzz in it"
    assert hint(tree / "zzz") == ""


def test_a_name_that_is_no_path_may_be_meant(tree: Path) -> None:
    assert hint("digts-64", ["digits-64", "digits-128"]) == "; did you mean digits-64?"


@pytest.mark.parametrize("given", ["", "/", "a\0b/c", "x" * 5000])
def test_what_can_be_no_path_has_no_hint(given: str) -> None:
    assert hint(given) == ""
