"""The launchers' own tests, in Triton's interpreter: a process of its own for each module of tests/kernels/launched.

Triton decides when it is imported whether kernels are compiled or interpreted, and other tests of this process import
it uninterpreted.
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

Child = subprocess.CompletedProcess[str]


def interpreted(module: str) -> Child:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(LAUNCHED / module)]
    settings = {**os.environ, "TRITON_INTERPRET": "1"}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def children() -> Iterator[dict[str, Future[Child]]]:
    """The modules' processes, a few at a time: the interpreter takes one core."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield {module: threads.submit(interpreted, module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_the_launched_kernels_keep_their_facts_in_the_interpreter(
    module: str, children: dict[str, Future[Child]]
) -> None:
    child = children[module].result()
    assert child.returncode == 0, child.stdout + child.stderr
