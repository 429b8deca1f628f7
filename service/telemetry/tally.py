"""What became of every request that was received, counted once each: where it went, how it was answered, and in which
protocol it asked for images, if it did.

    received = refused + invalid + completed + cancelled + failed + those under way

Jobs, of which one request may have several, are counted in `service.front.ledger`. Knows routes and statuses alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

CLIENT_LEFT = 499
OTHER_ROUTE = "other"


class Verdict(StrEnum):
    """How a request ended."""

    REFUSED = "refused"
    INVALID = "invalid"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True)
class Tally:
    """Requests by (route, status, protocol), and the ended ones by what became of them."""

    received: int = 0
    answered: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    ended: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))

    @property
    def under_way(self) -> int:
        """Requests received and not ended."""
        return self.received - self.answered.total()

    def end(
        self, status: int, route: str = OTHER_ROUTE, protocol: str = "", *, was_accepted: bool = False
    ) -> None:
        """Counts the end of a request.

        Args:
            status: that it was answered with.
            route: one of our paths.
            protocol: in which it asked for images; empty if it asked for something else.
            was_accepted: whether its images had been accepted.
        """
        self.answered[route, status, protocol] += 1
        self.ended[verdict_of(status, was_accepted=was_accepted)] += 1


def verdict_of(status: int, *, was_accepted: bool = False) -> Verdict:
    """What a status means for who asked; 0 is no answer at all, and what was accepted is not refused any more."""
    if status == 429 or (status == 503 and not was_accepted):
        return Verdict.REFUSED
    if status in (0, CLIENT_LEFT):
        return Verdict.CANCELLED
    if status >= 500 and status != HTTPStatus.HTTP_VERSION_NOT_SUPPORTED:  # which is the client's mistake
        return Verdict.FAILED
    return Verdict.INVALID if status >= 400 else Verdict.COMPLETED
