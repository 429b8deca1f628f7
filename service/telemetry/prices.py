"""What kinds of work cost: moving averages, measured as it is done. Knows no clock and no kind by name."""

from __future__ import annotations

SMOOTHING = 0.1  # weight of the newest measurement: a change of load is forgotten within some tens of them


class Prices:
    """Seconds of a unit of work, by its kind."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def observe(self, kind: str, seconds: float) -> None:
        """Learns what one unit took."""
        known = self._seconds.get(kind, seconds)
        self._seconds[kind] = known + SMOOTHING * (seconds - known)

    def knows(self, kind: str) -> bool:
        """Whether any was measured."""
        return kind in self._seconds

    def of(self, kind: str, guess: float) -> float:
        """The price, or a guess before anything was measured."""
        return self._seconds.get(kind, guess)
