"""Says what somebody may have meant whose path or name leads nowhere.

Knows no checkpoint and no command: names of files, and those that a caller knows beside them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MAX_SIBLINGS = 1000  # looked at in one folder: a hint is worth no more
_LIKENESS = 0.6  # difflib's own measure of what is close


def hint(path: str | Path, names: Iterable[str] = ()) -> str:
    """Return "; did you mean …?" with what is nearest to a path that leads nowhere, or "" where nothing is near.

    Where a folder on the way is missing and nothing in its place is called alike, it says how far the path leads.

    Args:
        path: as it was given.
        names: what could have been given in its place and is no path, such as demo names.
    """
    text = str(path).rstrip(os.sep)
    if near := difflib.get_close_matches(text, list(names), n=1, cutoff=_LIKENESS):
        return f"; did you mean {near[0]}?"
    missing = Path(text)
    while missing != missing.parent and not _exists(missing.parent):
        missing = missing.parent
    parent = missing.parent
    others = [name for name in _names_in(parent) if name != missing.name]  # itself, where it may not be looked at
    if near := difflib.get_close_matches(missing.name, others, n=1, cutoff=_LIKENESS):
        rest = Path(text).relative_to(missing)
        whole = parent / near[0] / rest
        return f"; did you mean {whole if _exists(whole) else parent / near[0]}?"
    return "" if missing == Path(text) or parent == Path() else f"; there is {parent}, and no {missing.name} in it"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # forbidden to look at, or no path at all
        return False


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, MAX_SIBLINGS)]
    except (OSError, ValueError):
        return []
