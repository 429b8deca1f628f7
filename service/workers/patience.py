"""How long a worker process may say nothing before it counts as stopped.

A worker beats (`service.wire.messages.Heartbeat`) from a thread of its own as long as its process runs, loading
included. The bound is wider where a step takes long, as whoever computes may hold the interpreter and with it the beat,
and before the first step was measured; while it loads the worker has far longer. Silence is counted in ticks of the
event loop, each at its nominal length: on a machine so busy that this process is late too, time passes as slowly for
both. Knows no process and no message.
"""

from __future__ import annotations

import asyncio

SILENT_STEPS = 4.0  # so many of the slowest steps of late may pass without a beat
SILENCE_PER_STEP_TIMEOUT = 0.5  # as long as no step was measured
STEP_MEMORY = 0.99  # by which a slow step counts less with each one after it
LOADING_SECONDS = 600.0  # a large library on a slow disk holds the interpreter while it is linked
TICKS = 8  # in the shortest silence


class Patience:
    """The bound, and how much of it has passed.

    Args:
        silence_seconds: the least bound of a worker that is up.
        step_timeout_seconds: after which a step is a hang.
    """

    def __init__(self, silence_seconds: float, step_timeout_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._step_timeout_seconds = step_timeout_seconds
        self._silent_seconds = 0.0
        self._slowest_step_seconds = 0.0  # of late; outlives the process, as the next one has the same model
        self._is_loading = True

    @property
    def seconds(self) -> float:
        """How long the present process may be silent."""
        if self._is_loading:
            return LOADING_SECONDS
        if not self._slowest_step_seconds:
            return max(self._silence_seconds, SILENCE_PER_STEP_TIMEOUT * self._step_timeout_seconds)
        return max(self._silence_seconds, SILENT_STEPS * self._slowest_step_seconds)

    def heard(self) -> None:
        """The process has said something."""
        self._silent_seconds = 0.0

    def loaded(self) -> None:
        """It has loaded its models."""
        self._is_loading = False

    def stepped(self, seconds: float) -> None:
        """It has made a step."""
        self._slowest_step_seconds = max(seconds, STEP_MEMORY * self._slowest_step_seconds)

    def ended(self) -> None:
        """It is gone; the next one loads."""
        self._silent_seconds, self._is_loading = 0.0, True

    async def ends(self) -> None:
        """Returns when the process has been silent for too long."""
        tick_seconds = self._silence_seconds / TICKS
        while self._silent_seconds <= self.seconds:
            await asyncio.sleep(tick_seconds)
            self._silent_seconds += tick_seconds
