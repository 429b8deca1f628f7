"""The operator's guide tells the settings as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dit_serve.service.environment import PREFIX
from dit_serve.service.settings import READ_ELSEWHERE, SECRET, setting_fields
from docs.settings_table import BEGIN, END, main, settings_table, with_table

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"


def row(variable: str) -> list[str]:
    [line] = [line for line in settings_table().splitlines() if line.startswith(f"| `{variable}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_guide_has_the_present_table() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert with_table(text) == text, "run `make docs`"


def test_every_setting_has_a_row_with_its_meaning() -> None:
    rows = [row(PREFIX + name.upper()) for name in setting_fields()]
    assert all(cells[4] for cells in rows)
    assert len(settings_table().splitlines()) == 2 + len(rows)


def test_a_row_tells_unit_default_and_bounds() -> None:
    assert row("DIT_DRAIN_SECONDS")[1:4] == ["seconds", "60", "≥ 0, ≤ 3600"]
    assert row("DIT_HEADER_SECONDS")[1:4] == ["seconds", "5", "> 0, ≤ 600"]
    assert row("DIT_MAX_BODY_BYTES")[1:4] == ["bytes", "`16384`", "≥ 1024, ≤ 1048576"]
    assert row("DIT_MODULATION_CACHE_BYTES")[1:4] == ["bytes", "none", "≥ 0, ≤ 1099511627776"]
    assert row("DIT_MAX_BATCH_SEQUENCES")[1:4] == ["places", "`16`", "≥ 2, ≤ 64"]
    assert row("DIT_MODELS")[1:4] == ["", "`digits-64,digits-128,fashion-64`", "not empty"]
    assert row("DIT_STANDBY")[1:4] == ["", "true", "true, false"]
    assert row("DIT_LOG_LEVEL")[3] == "debug, info, warning, error"


def test_a_secret_is_told_to_be_no_flag() -> None:
    assert all(row(PREFIX + name.upper())[4].endswith("no flag.") for name in SECRET)


def test_no_variable_of_ours_that_the_guide_names_is_unknown() -> None:
    named = set(re.findall(r"\bDIT_[A-Z_]+\b", GUIDE.read_text(encoding="utf-8")))
    assert named <= {PREFIX + name.upper() for name in setting_fields()} | READ_ELSEWHERE


def test_a_file_is_brought_up_to_date_around_what_else_it_says(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text(f"before\n{BEGIN}old\n{END}after\n", encoding="utf-8")
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}{settings_table()}{END}after\n"


def test_a_file_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the text has no table"):
        with_table("nothing")
