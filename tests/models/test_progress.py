"""models/progress.py."""

from __future__ import annotations

import io
import sys

import pytest

from dit_serve.models.progress import progress_bar


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
