"""Finds the rows that a piece of work fails for, by halving, so that the others are not harmed.

Memory running out is nobody's fault as long as fewer rows can be done; it is told apart from errors. A device that is
lost is no row's failure and is not caught: nothing works any more in this process, for any row.
Knows no engine and no tensor: both kinds of errors are recognised by their names.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dit_serve.models.errors import is_device_lost

Row = TypeVar("Row")
_DRIVER_HAS_NONE = re.compile(r"(CUDA|HIP) error: out of memory|Triton Error \[\w+\]: .*out of memory")


@dataclass(slots=True)
class Salvage(Generic[Row]):
    """What became of the rows.

    Args:
        done: those that the work was done for.
        failures: the others, each with its error.
        too_many: the fewest rows that memory was too small for together, while it was large enough for each;
            0 if there were none.
        bisections: how often a part was halved because of an error.
        memory_splits: how often because memory was too small for it.
    """

    done: list[Row] = field(default_factory=list)
    failures: list[tuple[Row, Exception]] = field(default_factory=list)
    too_many: int = 0
    bisections: int = 0
    memory_splits: int = 0


def bisect(rows: Sequence[Row], work: Callable[[list[Row]], None]) -> Salvage[Row]:
    """Does the work for all rows at once, or for as many as can be in as few parts as it takes.

    Args:
        rows: may be none.
        work: if it raises, no row that it was given has changed.

    Raises:
        RuntimeError: out of `work`: the device is lost.
    """
    salvage: Salvage[Row] = Salvage()
    starved: list[list[Row]] = []
    parts = [list(rows)] if rows else []
    while parts:  # no recursion: inside an `except` the failed part's tensors would stay in memory
        part = parts.pop()
        error = _attempt(part, work)
        if error is None:
            salvage.done += part
        elif len(part) == 1:
            salvage.failures.append((part[0], error))
        else:
            if is_out_of_memory(error):
                starved.append(part)
            else:
                salvage.bisections += 1
            parts += [part[len(part) // 2 :], part[: len(part) // 2]]
    salvage.memory_splits = len(starved)
    salvage.too_many = _too_many(starved, [row for row, _ in salvage.failures])
    return salvage


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is torch's OutOfMemoryError, or a subclass; or an error of a driver's call that found no memory."""
    is_driver = isinstance(error, RuntimeError) and _DRIVER_HAS_NONE.match(str(error)) is not None
    return is_driver or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def _too_many(starved: list[list[Row]], failed: list[Row]) -> int:
    """The size of the smallest part that ran out of memory by its size, and not by a row that fails alone too."""
    innocent = [part for part in starved if not any(row is guilty for row in part for guilty in failed)]
    return min(map(len, innocent), default=0)


def _attempt(part: list[Row], work: Callable[[list[Row]], None]) -> Exception | None:
    try:
        work(part)
    except Exception as error:
        if is_device_lost(error):
            raise
        traceback.clear_frames(error.__traceback__)  # it would hold every tensor of the failed step
        return error
    return None
