"""How far a long computation is, on standard error: a bar where that is a terminal, and elsewhere a line now and then.

Standard output is for results alone, so that they can be piped. Colours are rich's affair, which leaves them out where
NO_COLOR is set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TimeElapsedColumn

LINE_SECONDS = 30.0  # between two lines of a long computation where there is no terminal


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar that is to be entered; what is shown beside it, `progress.console.print` writes above it.

    Args:
        columns: further ones beside the usual.
    """
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    # not rich's own judgement, which FORCE_COLOR turns: a log file is no place for a bar in any colour
    is_shown = sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal
    return Progress(
        *Progress.get_default_columns(),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not is_shown,
    )


class Steps:
    """A run of many steps, told as it goes."""

    def __init__(self, progress: Progress, title: str, total: int, done: int) -> None:
        self._progress, self._title, self._total, self._done = progress, title, total, done
        self._task = progress.add_task(title, total=total, completed=done)
        self._first, self._began = done, time.monotonic()
        self._next_line = self._began

    def advance(self, description: str) -> None:
        """One more step is done, of which there is this to say."""
        self._done += 1
        now = time.monotonic()
        self._progress.update(self._task, completed=self._done)
        if self._done % 50 == 0:
            self._progress.update(self._task, description=description)
        if self._progress.disable and (now >= self._next_line or self._done == self._total):
            self._next_line = now + LINE_SECONDS
            left = (self._total - self._done) * (now - self._began) / (self._done - self._first)
            self._progress.console.print(
                f"{self._title}: step {self._done} of {self._total}, {description}, {_minutes(left)} left"
            )


@contextmanager
def told_steps(title: str, total: int, done: int = 0) -> Iterator[Steps]:
    """Return the steps of a run, each to be told when it is done.

    Args:
        done: how many were before, in a run that goes on.
    """
    with progress_bar(TimeElapsedColumn()) as progress:
        yield Steps(progress, title, total, done)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
