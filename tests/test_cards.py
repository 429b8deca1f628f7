"""What tests change of a card is put back after a failure too; the card is none."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.cards import no_waiting, settled

PROTOTYPE = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes that were set, each with torch's warning; the last one is in force."""
    found = ["default"]

    def set_mode(mode: str) -> None:
        found.append(mode)
        warnings.warn(PROTOTYPE, stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return found


def test_waiting_is_an_error_within_and_allowed_again_after(modes: list[str]) -> None:
    with no_waiting():
        assert modes[-1] == "error"
    assert modes[-1] == "default"


def test_it_is_allowed_again_after_a_failure(modes: list[str]) -> None:
    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"), no_waiting():
        raise RuntimeError("called a synchronizing CUDA operation")
    assert modes[-1] == "default"


def test_it_is_allowed_again_if_setting_the_mode_raises_once_it_is_set(
    modes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_mode = torch.cuda.set_sync_debug_mode

    def another_warning(mode: str) -> None:
        set_mode(mode)
        if mode == "error":
            warnings.warn("deprecated", stacklevel=2)  # an error in the tests

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", another_warning)
    with pytest.raises(UserWarning, match="deprecated"), no_waiting():
        raise AssertionError("not reached")
    assert modes == ["default", "error", "default"]


def test_no_other_warning_is_let_through_within(modes: list[str]) -> None:
    with pytest.raises(UserWarning, match="is a prototype feature"), no_waiting():
        warnings.warn(PROTOTYPE, stacklevel=1)
    assert modes[-1] == "default"


def test_the_stream_is_put_back_and_waited_for_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"stream": "first"}
    done = list[str]()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: state["stream"])
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: state.update(stream=stream))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append(state["stream"]))

    def fail() -> None:
        state["stream"] = "of a capture"
        raise ValueError("within")

    with pytest.raises(ValueError, match="within"), settled():
        fail()
    assert done == ["first"]


def test_a_test_that_is_marked_for_a_card_is_settled_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest, torch\n"
        "seen = []\n"
        "torch.cuda.current_stream = lambda: 'first'\n"
        "torch.cuda.set_stream = seen.append\n"
        "torch.cuda.synchronize = lambda: seen.append('synchronised')\n"
        "@pytest.mark.gpu\n"
        "def test_1(): assert seen == []\n"
        "def test_2(): assert seen == ['first', 'synchronised']\n"
        "def test_3(): assert seen == ['first', 'synchronised']\n"
    )
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null", "-o", "markers=gpu"]
    command = [sys.executable, "-m", "pytest", "-q", *options, tmp_path / "test_it.py"]
    child = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert "3 passed" in child.stdout, child.stdout + child.stderr
