"""The bar of a long computation: on standard error, and only where that is a terminal.

Standard output is for results alone, so that they can be piped. Colours are rich's affair, which leaves them out where
NO_COLOR is set.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn


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
