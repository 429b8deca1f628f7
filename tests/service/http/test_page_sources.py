"""The page's files as they lie in the repository: small, plain, and without what its policy would not let run."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "service/http/web"
MOST_BYTES = 40_000
MOST_LINES = 200
LIT_HTML = "lit-html.js"
LIT_HTML_SHA256 = "b878e7f95dec8a9b6e9b217faca6b6a11bad82ebc44c0caa77419ed83edd81f2"  # version 3.3.3


def sources(*endings: str) -> list[Path]:
    """Our own files with these endings."""
    return sorted(path for path in WEB.iterdir() if path.suffix in endings and path.name != LIT_HTML)


def test_all_files_together_are_small() -> None:
    everything = b"".join(path.read_bytes() for path in sorted(WEB.iterdir()))
    assert len(gzip.compress(everything, 9)) <= MOST_BYTES


@pytest.mark.parametrize("path", sources(".js"), ids=lambda path: path.name)
def test_each_module_says_what_it_is_for_and_is_short(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) < MOST_LINES
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("path", sources(".js", ".html"), ids=lambda path: path.name)
def test_no_file_has_what_the_policy_forbids(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"\sstyle=|<style|<script>|\son[a-z]+=|\beval\(|new Function|javascript:", text)


@pytest.mark.parametrize("path", sources(".js", ".html", ".css"), ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    hosts = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text("utf-8")))
    assert hosts <= {"http://www.w3.org/2000/svg"}


def test_lit_html_is_as_it_was_published_and_has_its_licence_beside_it() -> None:
    assert hashlib.sha256((WEB / LIT_HTML).read_bytes()).hexdigest() == LIT_HTML_SHA256
    assert "BSD 3-Clause" in (WEB / "lit-html.LICENSE.txt").read_text("utf-8")
