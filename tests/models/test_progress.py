"""models/progress.py."""

from __future__ import annotations

import io
import sys

import pytest

from dit_serve.models.progress import LINE_SECONDS, progress_bar, told_steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def walk() -> None:
    with progress_bar() as progress:
        task = progress.add_task("walking [bold]:smile:", total=2)
        progress.advance(task, 2)


def test_there_is_no_bar_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    walk()
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_on_standard_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    walk()
    assert "100%" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert capsys.readouterr().out == ""


def test_a_terminal_that_cannot_go_back_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", Terminal())
    walk()
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_what_is_said_beside_the_bar_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress.console.print("a[/b] :smile:")
    assert capsys.readouterr() == ("", "a[/b] :smile:\n")


def test_a_run_tells_its_first_and_last_step_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with told_steps("walking", 12, done=9) as steps:
        for _ in range(3):
            steps.advance("left foot")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (out, len(lines)) == ("", 2)
    assert lines[0].startswith("walking: step 10 of 12, left foot, ")
    assert lines[1] == "walking: step 12 of 12, left foot, 0 s left"


def test_a_long_run_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("dit_serve.models.progress.time.monotonic", lambda: now[0])
    with told_steps("walking", 1000) as steps:
        for _ in range(10):
            now[0] += LINE_SECONDS / 3
            steps.advance("left foot")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"walking: step {step} of 1000" for step in (1, 4, 7, 10)]
    assert lines[-1].endswith("165 min left")


def test_a_run_on_a_terminal_is_a_bar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with told_steps("walking", 2) as steps:
        steps.advance("left foot")
        steps.advance("right foot")
    assert "step 1 of" not in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "100%" in sys.stderr.getvalue()  # type: ignore[attr-defined]
