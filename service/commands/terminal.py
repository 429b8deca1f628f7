"""What the commands write: text of foreign origin made harmless, and paths so that a program can read them.

Names in checkpoints, values in receipts and paths may hold anything: a terminal must not obey it, and a line must stay
one line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dit_serve.models.errors import printable

MAX_QUOTED = 60


def quoted(text: object) -> str:
    """A foreign value within a sentence: printable, in quotation marks, and cut where it is long."""
    shown = printable(text)
    return f"'{shown}'" if len(shown) <= MAX_QUOTED else f"'{shown[:MAX_QUOTED]}…'"


def print_path(path: Path) -> None:
    """Writes a path as a line: byte by byte as it is to a file or pipe, printable to a terminal."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None or sys.stdout.isatty():
        print(printable(path))
        return
    sys.stdout.flush()
    binary.write(os.fsencode(path) + b"\n")
    binary.flush()
