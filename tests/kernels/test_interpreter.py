"""The launchers' own tests, in Triton's interpreter: a process of its own for each module of tests/kernels/launched.

Triton decides when it is imported whether kernels are compiled or interpreted, and other tests of this process import
it uninterpreted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHED = Path(__file__).with_name("launched")
pytest.importorskip("triton", reason="no Triton for this machine: the references serve, nothing to interpret")


@pytest.mark.parametrize("module", sorted(path.name for path in LAUNCHED.glob("test_*.py")))
def test_the_launched_kernels_keep_their_facts_in_the_interpreter(module: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(LAUNCHED / module)]
    child = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
