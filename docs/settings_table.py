"""The settings as a Markdown table, made from the class that checks them.

    python -m docs.settings_table FILE...

Rewrites what stands between the two marks in each file. Knows no setting by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from dit_serve.service.environment import PREFIX
from dit_serve.service.settings import SECRET, setting_fields

BEGIN, END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->\n"
UNITS = {"_seconds": "seconds", "_bytes": "bytes", "_sequences": "places", "port": "TCP port"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def main(paths: list[str]) -> int:
    """Brings the table in each file up to date; the exit status."""
    for path in map(Path, paths):
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def with_table(text: str) -> str:
    """The text with the present table between its marks.

    Raises:
        ValueError: the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no table: it needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}{settings_table()}{END}{after}"


def settings_table() -> str:
    """One row per setting: variable, unit, default, bounds and meaning."""
    rows = [_row(name, field) for name, field in setting_fields().items()]
    return "\n".join(["| variable | unit | default | bounds | meaning |", "|---|---|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    cells = (f"`{PREFIX}{name.upper()}`", unit, _default(field.default), _bounds(field), _meaning(name, field))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        return f"`{','.join(value)}`" if value else "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true, false"
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    return ", ".join(_constraints(field))


def _constraints(field: FieldInfo) -> Iterator[str]:
    for constraint in field.metadata:
        for name, sign in SIGNS.items():
            if (limit := getattr(constraint, name, None)) is not None:
                yield f"{sign} {limit:g}" if isinstance(limit, float) else f"{sign} {limit}"
        if getattr(constraint, "min_length", None):
            yield "not empty"


def _meaning(name: str, field: FieldInfo) -> str:
    return f"{field.description} A variable alone, no flag." if name in SECRET else str(field.description)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
