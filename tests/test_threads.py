"""Every way in bounds how long threads spin before torch is imported, and leaves alone who has said it himself."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from dit_serve.threads import OWN_WORDS, SPINS, bound_waiting, bounded_waiting

TELLS_AT_TORCH = """
import os, sys
class Tells:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Tells())
"""
WAYS_IN = {
    "python": "from dit_serve import load_pipeline",
    "command line": "from dit_serve.service.cli import main; main(['generate', '--class-id', '1'])",
    "module": "import runpy; sys.argv = ['dit', 'info', '--help']; runpy.run_module('dit_serve', run_name='__main__')",
}


def seen_by_torch(code: str, said: dict[str, str]) -> str:
    """GOMP_SPINCOUNT in a fresh process at the moment when it imports torch."""
    silent = {name: value for name, value in os.environ.items() if name not in OWN_WORDS and name[:4] != "KMP_"}
    command = [sys.executable, "-c", TELLS_AT_TORCH + code]
    return subprocess.run(command, env=silent | said, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("code", WAYS_IN.values(), ids=WAYS_IN)
def test_the_spin_is_bounded_before_torch_is_imported(code: str) -> None:
    assert seen_by_torch(code, {}) == SPINS


@pytest.mark.parametrize("code", WAYS_IN.values(), ids=WAYS_IN)
def test_the_operators_own_bound_is_kept(code: str) -> None:
    assert seen_by_torch(code, {"GOMP_SPINCOUNT": "7"}) == "7"


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_nothing_is_added_to_what_an_operator_has_said(name: str) -> None:
    assert bounded_waiting({name: "1", "PATH": "/bin"}) == {}


def test_importing_the_package_has_no_effect() -> None:
    code = "import dit_serve.service.cli, dit_serve.models\nimport torch"
    assert seen_by_torch(code, {}) == "None"


def test_nothing_is_added_once_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OWN_WORDS:
        monkeypatch.delenv(name, raising=False)
    importlib.import_module("torch")
    bound_waiting()
    assert "GOMP_SPINCOUNT" not in os.environ
