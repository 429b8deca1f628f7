"""How long threads of the arithmetic spin while they wait for each other, said before torch is loaded.

OpenMP's threads, unless told otherwise, spin for milliseconds at the end of every shared operation, which holds the
cores that the threads of another process would need to get there: two processes on the same cores then take a hundred
times as long as one. A shorter spin still bridges the gap between two operations, and sleeps where somebody else has
the core. libgomp reads the variable once, when torch is imported; other runtimes ignore it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SPINS = "2000"  # no slower alone, as far as it can be measured; 1,000 is, and 5,000 doubles training in company
OWN_WORDS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def bounded_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process that will import torch; nothing if the operator has said it."""
    is_said = any(name in OWN_WORDS for name in environment)
    return {} if is_said else {"GOMP_SPINCOUNT": SPINS}


def bound_waiting() -> None:
    """Adds it to this process's environment, as long as torch has not read it yet."""
    if "torch" not in sys.modules:
        os.environ.update(bounded_waiting(os.environ))
