"""service/commands/terminal.py."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest

from dit_serve.models.errors import printable
from dit_serve.service.commands.terminal import print_path, quoted

ODD = Path(os.fsdecode(b"run[/old] :smile: 50% \xc3\xa9 \xff \x1b[2J\n~"))


def test_what_is_printable_stays_as_it_is() -> None:
    text = "[bold]Zürich :smile: 犬 50% 'a' \\n ~"
    assert printable(text) == text


def test_what_moves_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[2J\n\r\x07\x9b\u202e\u2028\udcff\0") == (
        r"a\x1b[2J\n\r\x07\x9b\u202e\u2028\udcff\x00"
    )


def test_a_long_value_is_cut() -> None:
    assert quoted("a" * 60) == f"'{'a' * 60}'"
    assert quoted("9" * 4000) == f"'{'9' * 60}…'"


def test_a_program_reads_a_path_byte_by_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_path(ODD)
    assert capfdbinary.readouterr().out == os.fsencode(ODD) + b"\n"


def test_where_there_is_no_file_below_a_path_is_printable() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_path(ODD)
    assert out.getvalue() == printable(ODD) + "\n"
