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


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the cells of the three targets by kernel."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(): [cell.strip() for cell in cells] for name, _, *cells in rows[1:]}


def test_no_kernel_spills_on_any_target() -> None:
    rows = rows_of(TABLE.read_text(encoding="utf-8"))
    assert len(rows) >= 15
    cells = [cell for cells in rows.values() for cell in cells if cell != "–"]
    assert all(re.fullmatch(r"\d+ / 0 / \d+", cell) for cell in cells)


def test_kernels_are_left_out_only_where_a_target_has_no_float8() -> None:
    for name, cells in rows_of(TABLE.read_text(encoding="utf-8")).items():
        is_float8 = "_float8" in name
        assert [cell == "–" for cell in cells] == [is_float8, False, is_float8], name


def test_two_programs_of_attention_share_a_multiprocessor_of_sm_90() -> None:
    row = next(line for line in TABLE.read_text(encoding="utf-8").splitlines() if "T = 256, bfloat16" in line)
    warps = int(row.split("|")[2])
    registers, _, shared = map(int, row.split("|")[4].split("/"))
    assert 2 * warps * 32 * -(-registers // 8) * 8 <= 65536  # registers of a multiprocessor, given out by eights
    assert 2 * (shared + 1024) <= 228 * 1024  # shared memory, a KiB of it reserved per program


def test_a_register_that_nothing_writes_is_found() -> None:
    from dit_serve.kernels.resources import unwritten

    listing = """
        /*02a0*/                   S2UR UR16, SR_CgaCtaId ;                        /* 0x00000000001079c3 */
        /*0380*/                   ULDC.64 UR18, c[0x0][0x208] ;                   /* 0x0000820000127ab9 */
        /*03a0*/             @!UP0 UIADD3 UR4, UP0, UR17, 0x20, URZ ;              /* 0x0000002011047890 */
        /*0430*/              @!P0 LDG.E.128 R4, desc[UR19][R80.64+0x1280] ;       /* 0x0012801250048981 */
        /*0440*/                   STS.128 [R56+UR16], R12 ;                       /* 0x0000000c38007988 */
    """
    assert unwritten(listing) == {17}
    assert unwritten(listing.replace("UR17", "UR18")) == set()


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
