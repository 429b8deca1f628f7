"""What became of every request that was received, counted once each.

    received = refused + invalid + completed + cancelled + failed + those under way

Jobs, of which one request may have several, are counted in `service.books`. Knows statuses alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

CLIENT_LEFT = 499


class Verdict(StrEnum):
    """How a request ended."""

    REFUSED = "refused"
    INVALID = "invalid"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True)
class Tally:
    """Requests by what became of them."""

    received: int = 0
    ended: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))

    @property
    def under_way(self) -> int:
        """Requests received and not ended."""
        return self.received - sum(self.ended.values())

    def end(self, status: int) -> None:
        """Counts the end of a request, by the status that it was answered with."""
        self.ended[verdict_of(status)] += 1


def verdict_of(status: int) -> Verdict:
    """What a status means for who asked; 0 is no answer at all."""
    if status in (429, 503):
        return Verdict.REFUSED
    if status in (0, CLIENT_LEFT):
        return Verdict.CANCELLED
    if status >= 500:
        return Verdict.FAILED
    return Verdict.INVALID if status >= 400 else Verdict.COMPLETED
