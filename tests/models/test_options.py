"""models/options.py: names and paths as operators give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_serve.models.options import expanded, split_name


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("xl=/a/b.pt", "xl", "/a/b.pt"),
        ("xl=~/b.pt", "xl", "/home/me/b.pt"),
        ("~/b=c.pt", "", "/home/me/b=c.pt"),
        ("xl=/a b/50% [c]\n.pt", "xl", "/a b/50% [c]\n.pt"),
        ("./a=b", "", "./a=b"),
        ("digits-64", "", "digits-64"),
    ],
)
def test_a_name_and_a_path(monkeypatch: pytest.MonkeyPatch, text: str, name: str, path: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert split_name(text) == (name, path)


def test_what_is_called_so_is_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    Path("~").mkdir()
    assert [expanded("~"), expanded("~/x"), expanded("~nobody-of-this-name/x")] == [
        "~", "/home/me/x", "~nobody-of-this-name/x"
    ]  # fmt: skip
