"""What tests change of a card is put back after a failure too; the card is none."""

from __future__ import annotations

import warnings

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
