"""The signals that end the service, and what they do while it is still being started.

Importing the service takes a second, in which a signal would end the process by the signal's name. Knows no server:
what a signal does once there is one, `service.http.server` says.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT and, as a terminal sends it when it is closed, SIGHUP; under nohup that one is ignored."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    is_taken = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *((hangup,) if is_taken else ()))


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """In a with-statement, until a server takes them, these signals end the process with status 0 and a line."""
    before = {number: signal.signal(number, _end) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    print(f"dit serve: ended by {signal.Signals(number).name} before it was started", file=sys.stderr)
    raise SystemExit(0)
