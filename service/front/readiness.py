"""Whether new work would be started now, and what keeps it from being so. Knows no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Startable(Protocol):
    """A worker, as far as it can be up or not."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def is_up(self) -> bool:
        """Whether it takes jobs."""

    @property
    def trouble(self) -> str:
        """Why it is not up, in words."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/readyz` tells.

    Args:
        is_ready: whether any worker is up.
        reason: why none is, in words.
        missing: what every worker that is not up is waiting for, in words, by its name.
    """

    is_ready: bool
    reason: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


DRAINING = Readiness(False, "shutting down: admitted work is being finished, new work is refused")
ENDING = Readiness(False, "ending after an error, new work is refused; the log says more")


def readiness_of(workers: Sequence[Startable]) -> Readiness:
    """As these workers stand."""
    missing = {worker.name: worker.trouble for worker in workers if not worker.is_up}
    if len(missing) < len(workers):
        return Readiness(True, missing=missing)
    troubles = [trouble if len(missing) == 1 else f"{name}: {trouble}" for name, trouble in missing.items()]
    return Readiness(False, "; ".join(troubles), missing)
