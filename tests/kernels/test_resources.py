"""RESOURCES.md is what compiling the kernels says, and nothing spills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "kernels" / "RESOURCES.md"
triton = pytest.importorskip("triton", reason="no Triton for this machine: nothing to compile")


def test_no_kernel_spills_on_any_target() -> None:
    text = TABLE.read_text(encoding="utf-8")
    cells = re.findall(r"(\d+) / (\d+) / (\d+)", text)
    assert len(cells) >= 3 * 15
    assert {spills for _, spills, _ in cells} == {"0"}
    rows = [line.split(" | ") for line in text.splitlines() if "=" in line or "→" in line]
    without_float8 = [row for row in rows if "float8" not in row[0]]
    assert len(cells) == 3 * len(without_float8) + len(rows) - len(without_float8)


def test_kernels_of_float8_are_left_out_where_it_does_not_compile() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if "_float8 " in line]
    assert rows
    assert all(re.fullmatch(r"\| .* \| \d+ \| – \| \d+ / 0 / \d+ \| – \|", row) for row in rows)


def test_two_programs_of_attention_share_a_multiprocessor_of_sm_90() -> None:
    row = next(line for line in TABLE.read_text(encoding="utf-8").splitlines() if "T = 256, bfloat16" in line)
    warps = int(row.split("|")[2])
    registers, _, shared = map(int, row.split("|")[4].split("/"))
    assert 2 * warps * 32 * -(-registers // 8) * 8 <= 65536  # registers of a multiprocessor, given out by eights
    assert 2 * (shared + 1024) <= 228 * 1024  # shared memory, a KiB of it reserved per program


def test_every_kernel_compiles_for_all_targets_to_what_the_table_says() -> None:
    recorded = TABLE.read_text(encoding="utf-8")
    if f"Triton {triton.__version__};" not in recorded:
        pytest.skip(f"the table belongs to another Triton than {triton.__version__}, whose assembler differs")
    compiling = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "dit_serve.kernels.resources", "--print"]
    child = subprocess.run(
        command, cwd=TABLE.parents[1], env=compiling, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout == recorded, "run `python -m dit_serve.kernels.resources`"
