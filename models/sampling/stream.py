"""The stream that a model's steps are enqueued on: in front of decoding, in the order of the caller's own work.

On a processor nothing is enqueued, and all of this is nothing. Knows no samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRIORITY = -1  # of steps: lower numbers go first, and what decodes beside them has 0


class StepStream:
    """A stream of higher priority on a card; nothing elsewhere.

    Args:
        device: where the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: torch.cuda.Event | None = None  # when the step before is computed
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device, priority=PRIORITY)  # type: ignore[no-untyped-call]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Enqueue on this stream what is called inside.

        It takes up behind all that the caller's own stream was given, and that one goes on behind it; only the card
        waits. So a caller sees one order of work: weights are there before the first step, and latents are whole
        whenever they are read. Memory too: what one of the two streams has given up is taken again behind the other's
        last use. The decoder's stream is outside of that order: it waits for `Sample.ready`, its caller for its end.
        """
        if self._stream is None:
            yield
            return
        callers = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(callers)
        with torch.cuda.stream(self._stream):
            yield
        callers.wait_stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """Return the moment when all that this stream was given is computed; None where nothing is enqueued."""
        if self._stream is None:
            return None
        moment = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: other threads encode
        moment.record(self._stream)
        return moment

    def keep_pace(self, moment: torch.cuda.Event | None) -> None:
        """Wait for the step before the one that has just been enqueued, which ends at `moment`.

        So the card always has its next step while the host prepares the one after, yet who joins or leaves, and what
        progress is told, is never more than one step behind.
        """
        before, self._before = self._before, moment
        if before is not None:
            before.synchronize()
