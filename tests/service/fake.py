"""The fake of the engine's door: pixels are a function of the job alone, and some classes misbehave on purpose.

A model's name says what its loading does: `fake-64` works, `broken-64` and `flaky-64` raise,
`waiting-64:FIFO` waits until somebody opens that FIFO for writing, `half-64` works on every device but `fake:1`, and
`read-64:FILE` has the file's first line for the SHA-256 of its weights, and its second one, if any, for its build.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_serve.models.options import MAX_BATCH_SEQUENCES, ModelInfo, ModelOptions, SampleSpec

RAISES, KILLS, SLOW, HANGS = 90, 91, 92, 93
SLOW_STEP_SECONDS = 0.02


@dataclass(slots=True)
class FakeSample:
    spec: SampleSpec
    i: int = 0

    @property
    def is_done(self) -> bool:
        return self.i == self.spec.steps


class FakeDoor:
    modulation_counts = (0, 0)
    max_sequences = MAX_BATCH_SEQUENCES

    def __init__(
        self, name: str = "fake-64", device: str = "cpu", sha256: str = "00" * 32, build: tuple[str, ...] = ()
    ) -> None:
        labels = tuple((f"class {k}", f"kind {k}") for k in range(100))
        samplers = ("ddim", "ddpm", "dpm++")
        side = int(name.rpartition("-")[2])
        self.info = ModelInfo(name, side, 100, labels, 1000, samplers, 4, "float32", device, sha256, build=build)

    def warm_up(self) -> None: ...

    def rest(self) -> None: ...

    def begin(self, spec: SampleSpec, /) -> FakeSample:
        return FakeSample(spec)

    def step(self, samples: list[FakeSample], /) -> None:
        classes = {sample.spec.class_id for sample in samples}
        if RAISES in classes:
            raise RuntimeError("this class raises in its step")
        if KILLS in classes:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANGS in classes:
            threading.Event().wait()
        if SLOW in classes:
            time.sleep(SLOW_STEP_SECONDS)
        for sample in samples:
            sample.i += 1

    def preview(self, sample: FakeSample, /) -> Callable[[], NDArray[np.uint8]]:
        return lambda: np.zeros((8, 8, 3), np.uint8)

    def decode(self, samples: list[FakeSample], /) -> list[NDArray[np.uint8]]:
        sources = [np.random.default_rng([sample.spec.seed, sample.spec.class_id]) for sample in samples]
        side = self.info.resolution
        return [source.integers(0, 256, (side, side, 3), np.uint8) for source in sources]


def load(model: str, options: ModelOptions) -> FakeDoor:
    """The fake model of this name."""
    name, _, file = model.partition(":")
    kind = name.partition("-")[0]
    if kind == "broken":
        raise ValueError(f"{model} is broken: take another")
    if kind == "flaky" or (kind == "half" and options.device == "fake:1"):
        raise RuntimeError("out of luck")
    if kind == "waiting":
        Path(file).read_bytes()
    if kind == "read":
        sha256, *build = Path(file).read_text().splitlines()
        return FakeDoor(name, options.device or "cpu", sha256, tuple(build))
    return FakeDoor(name, options.device or "cpu")
