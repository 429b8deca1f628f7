"""Lines of the log that a flood would make many of: a few are written, the rest counted and told in one line.

Whoever reaches the port can have itself refused thousands of times a second, for want of a key, and each refusal is a
line of some hundred bytes. Of each status a few refusals a second are written as they are; one line a second tells how
many more there were. Requests that were served, that failed, or whose client left have all of their lines, and at the
level debug all have.

Knows no request beyond its line.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from dit_serve.service.telemetry.tally import Verdict, verdict_of

MOST_LINES = 5  # of one status, in a period
PERIOD_SECONDS = 1.0
_SAMPLED = (Verdict.REFUSED, Verdict.INVALID)


class RefusalSampler(logging.Filter):
    """Lets a period's first lines about refusals through, of those that a logger gets within a running event loop.

    Args:
        logger: whose lines; it tells of the rest, too. A line about a request has the field `status`, and beside its
            fields `was_accepted`: what was and then failed is no refusal.

    Attributes:
        left_out: lines that were not written.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.left_out = 0
        self._logger = logger
        self._seen: Counter[int] = Counter()
        self._is_period = False
        logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be written."""
        fields = getattr(record, "fields", {})
        status = fields.get("status")
        if self._logger.isEnabledFor(logging.DEBUG):  # who asks for every line gets it
            return True
        was_accepted = getattr(record, "was_accepted", False)
        if not isinstance(status, int) or verdict_of(status, was_accepted=was_accepted) not in _SAMPLED:
            return True
        if not self._is_period:
            self._is_period = True
            asyncio.get_running_loop().call_later(PERIOD_SECONDS, self._end_period)
        self._seen[status] += 1
        if self._seen[status] <= MOST_LINES:
            return True
        self.left_out += 1
        return False

    def _end_period(self) -> None:
        more = {str(status): count - MOST_LINES for status, count in self._seen.items() if count > MOST_LINES}
        self._seen.clear()
        self._is_period = False
        if more:
            count = sum(more.values())
            fields = {"event": "requests_refused", "more": count, "by_status": more}
            self._logger.info("requests refused, beside those that have a line: %d", count, extra={"fields": fields})


class Seldom:
    """Has something told at once, and what comes after it only from time to time.

    Args:
        tell: is given how many times it has come since it was told last.
        seconds: at least, between two times.
    """

    def __init__(self, tell: Callable[[int], None], seconds: float) -> None:
        self._tell = tell
        self._seconds = seconds
        self._untold = 0
        self._is_waiting = False

    def __call__(self) -> None:
        """It has come; within a running event loop."""
        self._untold += 1
        if not self._is_waiting:
            self._tell_now()

    def _tell_now(self) -> None:
        self._is_waiting = self._untold > 0
        if self._is_waiting:
            count, self._untold = self._untold, 0
            self._tell(count)
            asyncio.get_running_loop().call_later(self._seconds, self._tell_now)
