"""The loader on damaged files: each loads as it is or is refused in a sentence, and leaves nothing behind.

A run makes 200 rounds, always the same; FUZZ_ROUNDS=5000 asks for more, FUZZ_FIRST=1234 begins elsewhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.models.checkpoints.fuzz.rounds import Rounds

FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "200"))


def test_damaged_checkpoints_load_as_they_are_or_are_refused_in_a_sentence() -> None:
    base = Path(tempfile.mkdtemp(prefix="dit-fuzz-"))  # not pytest's: its long name would be in every sentence
    try:
        rounds = Rounds(base)
        outcome = rounds.run(range(FIRST, FIRST + ROUNDS))
    finally:
        shutil.rmtree(base)
    print(f"{outcome.loaded} rounds loaded, {outcome.refused} were refused, {len(outcome.faults)} kinds of fault")
    assert not rounds.unreadable
    assert not outcome.faults
    assert outcome.loaded > 0 or ROUNDS < 200
