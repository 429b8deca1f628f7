"""What the C library keeps of memory that was freed, given back to the system. Knows nobody who had it."""

from __future__ import annotations

import ctypes


def give_back_freed() -> None:
    """Has glibc return all whole pages that nobody uses, which it keeps for the next who asks; others keep none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
