"""What the ends of a worker's processes say about the next start: how long to wait for it, and whether to hope for it.

A process that never was ready has failed to start; after some of those in a row nobody waits for the worker, though it
is tried again. One that was ready and ended soon, without having had work, did start: the next one comes after a longer
pause, and what is asked meanwhile waits. So it is with one that was refused for what it loaded, which may be put right.
Knows no process.
"""

from __future__ import annotations

from dit_serve.service.workers.life import Life

FIRST_PAUSE_SECONDS = 0.1
MOST_PAUSE_SECONDS = 10.0
MOST_PAUSE_OF_REFUSED_SECONDS = 30.0  # each try reads the whole model
MOST_FAILED = 5
STEADY_SECONDS = 30.0  # who was ready for longer, or had work, ended for another reason than its start


class Starts:
    """The count.

    Attributes:
        failed: how many in a row never were ready.
        pause_seconds: before the next one.
    """

    def __init__(self) -> None:
        self.failed = 0
        self.pause_seconds = FIRST_PAUSE_SECONDS

    @property
    def is_hopeless(self) -> bool:
        """Whether so many failed that nobody waits for another."""
        return self.failed >= MOST_FAILED

    def ended(self, life: Life, now: float) -> None:
        """A process has ended.

        Args:
            life: what was known of it.
            now: by the event loop's clock.
        """
        was_ready = bool(life.ready_at)
        self.failed = 0 if was_ready or life.is_refused else self.failed + 1
        if was_ready and (life.has_worked or now - life.ready_at >= STEADY_SECONDS):
            self.pause_seconds = FIRST_PAUSE_SECONDS
        else:
            most = MOST_PAUSE_OF_REFUSED_SECONDS if life.is_refused else MOST_PAUSE_SECONDS
            self.pause_seconds = min(2 * self.pause_seconds, most)
