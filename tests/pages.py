"""The project's pages as data: what they name, and the commands that they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
MANUAL = (ROOT / "README.md", *DOCS)
PAGES = (*MANUAL, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")

_FENCE = re.compile(r"^```")
_MARK = re.compile(r"<!-- not run: (\S.*) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Args:
        page: the page's name.
        line: of its opening fence, counted from 1.
        language: what stands behind the fence.
        text: without the fences.
        reason: why it is not run, as the comment before it says; empty if there is none.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str


def blocks(text: str, page: str = "") -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = text.splitlines()
    fences = [k for k, line in enumerate(lines) if _FENCE.match(line)]
    assert len(fences) % 2 == 0, f"{page}: a fence is open"
    for first, last in zip(fences[::2], fences[1::2], strict=True):
        mark = _MARK.fullmatch(lines[first - 1]) if first else None
        inside = "\n".join(lines[first + 1 : last])
        yield Block(page, first + 1, lines[first].strip("`"), inside, mark[1] if mark else "")


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    """A page's path from the repository's root."""
    return path.relative_to(ROOT).as_posix()
