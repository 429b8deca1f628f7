"""What a step and an image cost, from those of late, and how much accepted work that makes.

A step's time belongs to a model and to how many sequences take it: on a processor a small batch costs more a sequence
than a large one. What may be held against a request is a low figure, below what is usual. Neither is moved by a step
that took long because the machine was busy or stopped.

Knows no queue.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from dit_serve.service.telemetry.recent import Recent
from dit_serve.service.wire.job import Stepped

LOW = 0.2
FIRST_GUESS_SECONDS = 0.01  # price of a sequence-step before anything was measured
ENOUGH = 3  # figures of which the median, or the lowest, is not the one that went wrong
TRUSTED_SECONDS = 5.0  # as long as figures may be held against a request, where no work is being done that renews them
FRESH_SECONDS = 60.0  # as long as figures of this age are there, older ones of other batches say nothing


class Pace(Enum):
    """What is reckoned with: what steps take as a rule, or what one in five was no slower than."""

    USUAL = auto()
    LOW = auto()


@dataclass(slots=True)
class _Window:
    """Figures of one kind; what they come to is computed once for each new figure."""

    figures: Recent
    newest_at: float = 0.0
    _seconds: dict[Pace, float] = field(default_factory=dict)

    def add(self, figure: float, at: float) -> None:
        self.figures.add(figure)
        self.newest_at = at
        self._seconds.clear()

    def seconds(self, pace: Pace) -> float:
        if pace not in self._seconds:
            self._seconds[pace] = self.figures.usual() if pace is Pace.USUAL else self.figures.quantile(LOW)
        return self._seconds[pace]


class StepTimes:
    """Seconds of a step by model and sequences, and of what an image costs beside its steps.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: dict[str, dict[int, _Window]] = {}
        self._images: dict[str, _Window] = {}

    def stepped(self, model: str, sequences: int, seconds: float) -> None:
        """Learns what one batch's step took."""
        self._steps.setdefault(model, {}).setdefault(sequences, self._window()).add(seconds, self._clock())

    def imaged(self, model: str, seconds: float) -> None:
        """Learns what one image took after its last step."""
        self._images.setdefault(model, self._window()).add(seconds, self._clock())

    def is_measured(self, model: str) -> bool:
        """Whether any step of this model was made."""
        return bool(self._steps.get(model))

    def is_imaged(self, model: str) -> bool:
        """Whether any image of this model was made."""
        return model in self._images

    def is_known(self, model: str, within_seconds: float) -> bool:
        """Whether enough of its steps were made to trust their figures, and one of them so lately."""
        windows = self._steps.get(model, {}).values()
        newest_at = max((window.newest_at for window in windows), default=0.0)
        return sum(len(each.figures) for each in windows) >= ENOUGH and self._clock() - newest_at <= within_seconds

    def step_seconds(self, model: str, sequences: int, pace: Pace) -> float:
        """What a step takes.

        A size that was not measured, and any when the low figure is asked for, is judged by the others: a step takes
        no longer than one of more sequences, and no longer than as many of fewer as it takes to do the same.
        """
        sizes = self._trusted(model)
        if pace is Pace.USUAL and sequences in sizes and len(sizes[sequences].figures) >= ENOUGH:
            return sizes[sequences].seconds(pace)
        bounds = (window.seconds(pace) * max(1.0, sequences / size) for size, window in sizes.items())
        return min(bounds, default=FIRST_GUESS_SECONDS * sequences)

    def image_seconds(self, model: str, pace: Pace) -> float:
        """What an image takes after its last step; the low figure is nothing once none was made for a while."""
        window = self._images.get(model)
        if window is None or (pace is Pace.LOW and self._clock() - window.newest_at >= TRUSTED_SECONDS):
            return 0.0
        return window.seconds(pace)

    def _trusted(self, model: str) -> dict[int, _Window]:
        """By size: those measured lately, if there are any, and often enough, if there are any."""
        sizes = self._steps.get(model, {})
        since = self._clock() - FRESH_SECONDS
        sizes = {size: window for size, window in sizes.items() if window.newest_at >= since} or sizes
        return {size: window for size, window in sizes.items() if len(window.figures) >= ENOUGH} or sizes

    def _window(self) -> _Window:
        return _Window(Recent(clock=self._clock))


class WorkEstimate:
    """Remaining work by model, in sequence-steps (a guided image of 50 steps is 100 of them), and its price."""

    def __init__(self) -> None:
        self.workers = 1  # they share the work
        self._prices: dict[str, Recent] = {}
        self._work: Counter[str] = Counter()

    def add(self, model: str, sequence_steps: int) -> None:
        """Counts work in; a negative number counts it out."""
        self._work[model] += sequence_steps

    def work_of(self, model: str) -> int:
        """Sequence-steps to go."""
        return self._work[model]

    @property
    def models(self) -> list[str]:
        """Those that there is work of, or was."""
        return list(self._work)

    def observe(self, event: Stepped) -> None:
        """Learns the price of a sequence-step from one batch."""
        self._prices.setdefault(event.model, Recent()).add(event.seconds / event.sequences)

    def seconds(self) -> float:
        """Predicted time until all accepted work is done."""
        return sum(work * self._price(model) for model, work in self._work.items() if work) / self.workers

    def _price(self, model: str) -> float:
        return self._prices[model].quantile(0.5) if model in self._prices else FIRST_GUESS_SECONDS
