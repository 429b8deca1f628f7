"""Which errors say that the device is lost, and which of the same kinds do not; and words in a row for a message."""

from __future__ import annotations

import pytest
import torch

from dit_serve.models.errors import LOST, is_device_lost, listed

ADVICE = "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions; out of memory is captured elsewhere.\n"


class SubclassOfIt(torch.AcceleratorError):
    """As a later torch may raise."""


@pytest.mark.parametrize("kind", [torch.AcceleratorError, SubclassOfIt])
@pytest.mark.parametrize("sentence", [*LOST, "unknown error", "invalid device context"])
def test_an_error_of_the_accelerator_is_a_loss(kind: type[RuntimeError], sentence: str) -> None:
    assert is_device_lost(kind(f"CUDA error: {sentence}{ADVICE}"))


@pytest.mark.parametrize(
    "sentence",
    [
        "out of memory",
        "operation not permitted when stream is capturing",
        "operation failed due to a previous error during capture",
        "capturing stream has unjoined work",
        "operation not permitted on an event last recorded in a capturing stream",
    ],
)
def test_a_failed_capture_and_too_little_memory_are_none(sentence: str) -> None:
    assert not is_device_lost(torch.AcceleratorError(f"CUDA error: {sentence}{ADVICE}"))


@pytest.mark.parametrize("backend", ["CUDA", "HIP"])
@pytest.mark.parametrize("sentence", LOST)
def test_what_the_launcher_of_a_kernel_says_of_a_lost_context_is_a_loss(backend: str, sentence: str) -> None:
    code = " Code: 719, Messsage: " if backend == "HIP" else ""
    assert is_device_lost(RuntimeError(f"Triton Error [{backend}]: {code}{sentence}"))


@pytest.mark.parametrize(
    "sentence",
    [
        "invalid argument",
        "out of memory",
        "no kernel image is available for execution on the device",
        "too many resources requested for launch",
        "operation failed due to a previous error during capture",
        "Failed to create tensor map descriptor: invalid argument",
    ],
)
def test_what_one_launch_is_refused_for_is_none(sentence: str) -> None:
    assert not is_device_lost(RuntimeError(f"Triton Error [CUDA]: {sentence}"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(f"a row's own error that quotes: {LOST[0]}"),
        ValueError(f"Triton Error [CUDA]: {LOST[0]}"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_none(error: BaseException) -> None:
    assert not is_device_lost(error)


@pytest.mark.parametrize(
    ("words", "room", "told"),
    [
        ([], 9, ""),
        (["a", "b"], 9, "a, b"),
        (["aaaa", "bbbb", "cc"], 9, "aaaa … and 2 more"),
        (["aaaa", "bbbb"], 10, "aaaa, bbbb"),
        (["abcdefghij", "k"], 5, "abcd… … and 1 more"),
        (["\x1b[31m", "a\nb", "ö"], 30, "\\x1b[31m, a\\nb, ö"),
    ],
)
def test_words_are_cut_to_the_room_and_do_nothing_on_a_terminal(words: list[str], room: int, told: str) -> None:
    assert listed(words, room) == told
