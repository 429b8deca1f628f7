"""The launchers' own tests, in Triton's interpreter: the modules of tests/kernels/launched, in processes of their own.

Triton decides when it is imported whether kernels are compiled or interpreted, and other tests of this process import
it uninterpreted. There is a process a core, as what each of them has to import takes as long as a module's tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

LAUNCHED = Path(__file__).with_name("launched")
MODULES = sorted(path.name for path in LAUNCHED.glob("test_*.py"))
pytest.importorskip("triton", reason="no Triton for this machine: the references serve, nothing to interpret")

SHARES = [share for first in range(os.cpu_count() or 1) if (share := MODULES[first :: os.cpu_count() or 1])]
Child = subprocess.CompletedProcess[str]


def interpreted(share: list[str]) -> Child:
    modules = [str(LAUNCHED / module) for module in share]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *modules]
    settings = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def children() -> Iterator[list[Future[Child]]]:
    """The processes, all at once: the interpreter takes one core."""
    with ThreadPoolExecutor(len(SHARES)) as threads:
        yield [threads.submit(interpreted, share) for share in SHARES]


@pytest.mark.parametrize("number", range(len(SHARES)))
def test_the_launched_kernels_keep_their_facts_in_the_interpreter(
    number: int, children: list[Future[Child]]
) -> None:
    child = children[number].result()
    assert child.returncode == 0, child.stdout + child.stderr


def test_every_module_is_in_a_share() -> None:
    assert sorted(module for share in SHARES for module in share) == MODULES
    assert len(MODULES) >= 10
