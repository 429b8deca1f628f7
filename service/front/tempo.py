"""What one worker's steps and images take: with all that its loop does besides, and without what they wait for.

Knows no ledger.
"""

from __future__ import annotations

from collections.abc import Callable

from dit_serve.service.wire.job import Stepped, Timings


class Tempo:
    """Measures by what one process tells."""

    def __init__(self) -> None:
        self._newest_step: Stepped | None = None
        self._imaged_at = 0.0

    def step_seconds(self, event: Stepped, is_under_way: Callable[[int], bool]) -> float:
        """What a step took with all that was done since the one before it; alone after a decoding or a pause.

        Args:
            event: the newest step.
            is_under_way: whether a job of the step before has more steps to go.
        """
        before, self._newest_step = self._newest_step, event
        if before is None or not all(map(is_under_way, before.job_ids)):
            return event.seconds
        return max(event.seconds, event.at - before.at)

    def image_seconds(self, timings: Timings, now: float) -> float:
        """What an image took after its last step; of several that were done together each waits for those before it."""
        since, self._imaged_at = now - self._imaged_at, now
        return min(timings.decode + timings.encode, since)
