"""Rounds of damage: each takes a sound checkpoint, damages a copy of it, loads that, and is judged. Its number is all
that a round depends on, so a fault is made again by its number.

    FUZZ_FIRST=1234 FUZZ_ROUNDS=1 pytest -s tests/models/checkpoints/test_checkpoint_fuzz.py
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch

from dit_serve.models.checkpoints import convert
from dit_serve.models.checkpoints.layouts import recognise
from dit_serve.models.checkpoints.tensor_files import read_headers
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.fuzz.forked import Forks
from tests.models.checkpoints.fuzz.judge import Loaded, load, load_fault, refusal_fault
from tests.models.checkpoints.fuzz.mutations import damage
from tests.models.checkpoints.fuzz.seeds import Seed, make_seeds

MOST_GROWTH_BYTES = 1 << 30
REAL_CHILD_EVERY = 500  # rounds; it takes seconds
STUCK_SECONDS = 15  # a round takes a fraction of one; a pipe that nobody writes to would take for ever
KEPT = ("", ".lock", ".json", ".safetensors")  # endings of what the cache holds: locks, sums, manifests, conversions


class Stuck(Exception):
    """A round that does not end."""


@dataclass(slots=True)
class Outcome:
    """What came of many rounds.

    Attributes:
        faults: each kind of fault, with the numbers of its rounds.
        loaded: how many rounds ended with a sound checkpoint.
        refused: how many with a refusal.
    """

    faults: dict[str, list[int]] = field(default_factory=dict)
    loaded: int = 0
    refused: int = 0


class Rounds:
    """Makes rounds in a folder of its own.

    Args:
        base: an empty folder of a short name.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        (base / "sound").mkdir()
        self._seeds = make_seeds(base / "sound")
        self._truths: dict[str, Loaded | None] = {}
        for seed in self._seeds:
            with self._prepared(seed, Forks()) as (folder, _), suppress(CheckpointError):
                self._truths[seed.name] = None
                self._truths[seed.name] = load(seed, folder)

    @property
    def unreadable(self) -> list[str]:
        """The names of the seeds that are refused though nothing is wrong with them."""
        return [name for name, truth in self._truths.items() if truth is None]

    def run(self, numbers: range) -> Outcome:
        """Make the rounds of these numbers, and print each kind of fault when it is first met."""
        outcome = Outcome()
        for number in numbers:
            what, fault = self._round(number, outcome)
            if fault and fault not in outcome.faults:
                print(f"round {number}: {fault}\n    {what}", flush=True)
            if fault:
                outcome.faults.setdefault(fault, []).append(number)
        return outcome

    def _round(self, number: int, outcome: Outcome) -> tuple[str, str]:
        """What was damaged, and the fault that came of it, "" for none."""
        rng, forks = Random(number), Forks()
        seed = self._seeds[number % len(self._seeds)]
        before = _peak_bytes()
        with self._prepared(seed, forks, is_real=number % REAL_CHILD_EVERY == REAL_CHILD_EVERY - 1) as (folder, cache):
            what = f"{seed.name}: {damage(folder, rng)}"
            try:
                loaded = load(seed, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever it is, it is judged
                fault = refusal_fault(error, folder) or _left_behind(cache, seed)
                what += f"\n    {str(error)[:500]!r}"
                outcome.refused += not fault
            else:
                fault = load_fault(loaded, self._truths[seed.name], folder, forks)
                outcome.loaded += not fault
            grown = max(_peak_bytes(), forks.peak_bytes) - before
            if not fault and grown > MOST_GROWTH_BYTES:
                fault = f"takes {grown >> 28} times 256 MiB of memory"
            return what, fault or _processes()

    @contextmanager
    def _prepared(self, seed: Seed, forks: Forks, *, is_real: bool = False) -> Iterator[tuple[Path, Path]]:
        """A copy of the seed's files and an empty cache, with the conversion in a fork; all is gone afterwards."""
        place = self._base / "files"
        cache = self._base / "cache"
        shutil.copytree(seed.folder, place)
        (cache / "tmp").mkdir(parents=True)
        shim = SimpleNamespace(**{**vars(subprocess), "run": forks.convert})
        try:
            with pytest.MonkeyPatch.context() as patch, _limited():
                patch.setenv("DIT_CACHE", str(cache))
                patch.setattr(tempfile, "tempdir", str(cache / "tmp"))
                patch.setattr(convert, "subprocess", subprocess if is_real else shim)
                yield place, cache
        finally:
            shutil.rmtree(place)
            shutil.rmtree(cache)


@contextmanager
def _limited() -> Iterator[None]:
    """End with `Stuck` what hangs, and compute in one thread: forks have no other."""

    def stop(*_: object) -> None:
        raise Stuck("the round does not end")

    threads, handler = torch.get_num_threads(), signal.signal(signal.SIGALRM, stop)
    torch.set_num_threads(1)
    signal.alarm(STUCK_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        torch.set_num_threads(threads)


def _left_behind(cache: Path, seed: Seed) -> str:
    """What a refused checkpoint left in the cache or in the folder for temporary files, "" for nothing.

    The conversion of a file that is sound by itself may stay: another file of the checkpoint, or a value, was refused.
    """
    left = {path.suffix or path.name for path in cache.rglob("*") if path.is_file() and path.suffix not in KEPT}
    left |= {f"a temporary {path.suffix or path.name}" for path in (cache / "tmp").iterdir()}
    for conversion in cache.rglob("*.safetensors") if seed.kind == "dit" and seed.entry else ():
        try:
            recognise(read_headers([conversion]), seed.name)
        except CheckpointError:
            left.add("the conversion of what is no DiT")
    return f"a refused file leaves {', '.join(sorted(left))} behind" if left else ""


def _processes() -> str:
    """What processes of ours are left, "" for none."""
    with suppress(ChildProcessError):
        pid, _ = os.waitpid(-1, os.WNOHANG)
        return f"a process is left ({'ended' if pid else 'running'})"
    return ""


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
