"""What can be wrong with a model before it runs: one small tree of exceptions; and how a lost device is recognised.

    ModelError
      CheckpointError   a file, folder or hub repository cannot be used
        ChangedMeanwhile  it can, perhaps, once it is written
      EvaluationError   images, features or statistics cannot be measured
      DeviceError       a device or number format is not to be had

Every message is one sentence for the person who chose the model: which file, what is wrong, what to do. Knows no
torch, so any process may catch these.
"""

from __future__ import annotations

from collections.abc import Iterable

# What CUDA says when the context is lost: "this leaves the process in an inconsistent state and any further CUDA work
# will return the same error; to continue using CUDA, the process must be terminated and relaunched" (cuda.h, of
# CUresult 226, 700, 702, 710, 714 to 719 and 721), and when the card or its memory is (46, 214, 220, 709). HIP has the
# same words for those it knows. Not here is what one call or one kernel is refused for: an invalid argument, too many
# resources, no kernel image, no memory.
LOST = (
    "an illegal memory access was encountered",
    "the launch timed out and was terminated",
    "device-side assert triggered",
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "unspecified launch failure",
    "tensor memory not completely freed",
    "Invalid access of peer GPU memory over nvlink or a hardware error",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected during the execution",
    "context is destroyed",
    "CUDA-capable device(s) is/are busy or unavailable",
)
# What torch raises as an AcceleratorError too, and a device survives: a graph's capture that failed (900 to 908, whose
# sentences all have the word), and a call of the driver that found no memory (2).
SURVIVED = ("captur", "out of memory")

# What the allocators of torch say, for a processor's memory and a card's.
NO_MEMORY = ("allocate memory", "not enough memory", "Cannot allocate", "out of memory")


class ModelError(Exception):
    """A model cannot be made ready."""


class CheckpointError(ModelError):
    """A checkpoint cannot be used; the message names the file, what is wrong with it and what to do."""


class ChangedMeanwhile(CheckpointError):
    """A file was written while it was read; the next try may find it whole."""


class EvaluationError(ModelError):
    """What is to be measured, or what it is measured by, cannot be used; the message says what is wrong with it."""


class DeviceError(ModelError):
    """The device or number format that was asked for is not present."""


def printable(text: object, most: int | None = None) -> str:
    """Return text of foreign origin as one line that does nothing on a terminal, cut to `most` characters.

    What is not printable becomes a backslash escape: control characters, line ends, marks that turn the writing
    direction, bytes that are no text.
    """
    whole = str(text) if most is None else str(text)[: most + 1]
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in whole)
    return safe if most is None or len(safe) <= most else f"{safe[: most - 1]}…"


def listed(words: Iterable[str], room: int = 120) -> str:
    """Return words in a row for a message, and how many more there are where they would take more than `room`.

    They may come from a file: what is not printable is escaped, so that it does nothing on a terminal.
    """
    words = [printable(word[: room + 1]) for word in words]
    told: list[str] = []
    for word in words:
        if told and sum(map(len, told)) + 2 * len(told) + len(word) > room:
            break
        told.append(word if len(word) <= room else word[: room - 1] + "…")
    rest = len(words) - len(told)
    return ", ".join(told) + (f" … and {rest} more" if rest else "")


def found_no_memory(error: BaseException) -> bool:
    """Return whether Python, torch or a card has found no memory; recognised by words, so that nobody needs torch."""
    words = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(said in words for said in NO_MEMORY)
    )


def is_device_lost(error: BaseException) -> bool:
    """Return whether nothing works any more on the device in this process, whoever asks.

    Recognised by names and words, so that nobody who asks needs torch: torch's AcceleratorError or a subclass, whatever
    it is about that no device is known to survive; and the plain RuntimeError of Triton's launcher, which names all it
    is refused alike, if it is one of those that no context survives.
    """
    sentence = str(error).partition("\n")[0]  # torch's advice follows
    if any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__):
        return not any(words in sentence for words in SURVIVED)
    is_launcher = isinstance(error, RuntimeError) and sentence.startswith("Triton Error [")
    return is_launcher and any(words in sentence for words in LOST)
