"""How long a worker process may say nothing before it counts as stopped.

A process beats (`service.wire.messages.Heartbeat`) from a thread of its own as long as it runs. Whoever computes may
hold the interpreter and with it the beat, so there is a bound for each of its phases:

    importing ─ called ─ loading ─ up

While it imports its libraries and loads its models the bound is wide until one process was seen to get through, and
from then on a multiple of the longest silence of that one. A process that stood by, and is called, has nothing to do
but to answer. Once it is up slow steps widen the bound.

Silence is counted in ticks of the event loop, each at its nominal length: on a machine so busy that this process is
late too, or one that was paused as a whole, time passes as slowly for both. Knows no process and no message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum

from dit_serve.service.telemetry.usual import Margin, Usual

STEPS = Margin(share=0.75, factor=4.0, least_factor=2.0)  # so many of the slower steps of late pass without a beat
SILENCE_PER_STEP_TIMEOUT = 0.5  # as long as no step was measured
FIRST_IMPORT_SECONDS = 600.0  # a large library on a slow disk holds the interpreter while it is linked
LEAST_IMPORT_SECONDS = 10.0
FIRST_LOADING_SECONDS = 60.0  # a driver that is set up, or a tensor on a slow disk
LEAST_LOADING_SECONDS = 5.0
CALLED_SECONDS = 3.0
SILENCES = 8.0  # so many of the longest of those that got through
TICKS = 8  # in the shortest silence


class Phase(Enum):
    """What a process does."""

    IMPORTING = " while it imported its libraries"
    CALLED = " when it was called from standby"
    LOADING = " while it loaded"
    UP = ""


class Silence:
    """Counts for how long nothing was heard.

    Args:
        tick_seconds: between two counts.
    """

    def __init__(self, tick_seconds: float) -> None:
        self.seconds = 0.0
        self.longest_seconds = 0.0
        self._tick_seconds = tick_seconds

    def broken(self) -> None:
        """Something was heard."""
        self.seconds = 0.0

    async def passes(self, bound: Callable[[], float]) -> None:
        """Returns when it has lasted for longer than this."""
        while self.seconds <= bound():
            await asyncio.sleep(self._tick_seconds)
            self.seconds += self._tick_seconds
            self.longest_seconds = max(self.longest_seconds, self.seconds)


class Habit:
    """How long a part of the start may be silent, as processes before were seen to get through it.

    Args:
        first_seconds: before any was.
        least_seconds: after that, at the least.
    """

    def __init__(self, first_seconds: float, least_seconds: float) -> None:
        self.seconds = first_seconds
        self._first_seconds = first_seconds
        self._longest_seconds = least_seconds / SILENCES

    def seen(self, silence_seconds: float) -> None:
        """A process got through, with this longest silence."""
        self._longest_seconds = max(self._longest_seconds, silence_seconds)
        self.seconds = min(self._first_seconds, SILENCES * self._longest_seconds)

    def missed(self) -> None:
        """One was given up for its silence: the next one may take longer, in case it was only slow."""
        self.seconds = min(self._first_seconds, 2 * self.seconds)


class Patience:
    """The bound, and how much of it has passed.

    Args:
        silence_seconds: the least bound.
        step_timeout_seconds: after which a step is a hang.
        importing: how long the import of the libraries may be silent, known to all who have processes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        silence_seconds: float,
        step_timeout_seconds: float,
        importing: Habit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.phase = Phase.IMPORTING
        self._silence_seconds = silence_seconds
        self._step_timeout_seconds = step_timeout_seconds
        self._importing = importing
        self._loading = Habit(FIRST_LOADING_SECONDS, LEAST_LOADING_SECONDS)
        self._steps = Usual(STEPS, clock)  # outlives the process, as the next one has the same model
        self._tick_seconds = min(silence_seconds, CALLED_SECONDS) / TICKS
        self._silence = Silence(self._tick_seconds)

    @property
    def seconds(self) -> float:
        """How long the present process may be silent."""
        match self.phase:
            case Phase.IMPORTING:
                bound = self._importing.seconds
            case Phase.CALLED:
                bound = CALLED_SECONDS
            case Phase.LOADING:
                bound = self._loading.seconds
            case Phase.UP:
                bound = self._steps.bound or SILENCE_PER_STEP_TIMEOUT * self._step_timeout_seconds
        return max(self._silence_seconds, bound)

    def began(self, *, is_called: bool) -> None:
        """There is another process: it stood by, or it has to import its libraries first."""
        self._enter(Phase.CALLED if is_called else Phase.IMPORTING)

    def heard(self) -> None:
        """The process has said something."""
        self._silence.broken()

    def imported(self) -> None:
        """It has imported its libraries."""
        self._importing.seen(self._silence.longest_seconds)
        self._enter(Phase.LOADING)

    def answered(self) -> None:
        """It says what it loads."""
        if self.phase is Phase.CALLED:
            self._enter(Phase.LOADING)

    def loaded(self) -> None:
        """It has loaded its models."""
        self._loading.seen(self._silence.longest_seconds)
        self._enter(Phase.UP)

    def stepped(self, seconds: float) -> None:
        """It has made a step."""
        self._steps.add(seconds)

    async def ends(self) -> str:
        """Returns when the process has been silent for too long: for how long, and where, in words."""
        await self._silence.passes(lambda: self.seconds)
        words = f"silent for {self.seconds:.1f} s{self.phase.value}"
        if self.phase is Phase.IMPORTING:
            self._importing.missed()
        elif self.phase is Phase.LOADING:
            self._loading.missed()
        return words

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._silence.seconds = self._silence.longest_seconds = 0.0
