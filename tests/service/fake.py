"""The fake of the engine's door: pixels are a function of the job alone, and some classes misbehave on purpose.

A model's name says what its loading does: `fake-64` works, `broken-64` and `flaky-64` raise,
`waiting-64:FIFO` waits until somebody opens that FIFO for writing, `half-64` works on every device but `fake:1`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_serve.service.wire.job import Job
from dit_serve.service.wire.messages import Configure, ModelInfo

RAISES, KILLS, SLOW, HANGS = 90, 91, 92, 93
SLOW_STEP_SECONDS = 0.02


@dataclass(slots=True)
class FakeSample:
    job: Job
    i: int = 0

    @property
    def is_done(self) -> bool:
        return self.i == self.job.steps


class FakeDoor:
    cache_counts = (0, 0)
    max_sequences: int | None = None

    def begin(self, spec: Job, /) -> FakeSample:
        return FakeSample(spec)

    def step(self, samples: list[FakeSample], /) -> None:
        classes = {sample.job.class_id for sample in samples}
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

    def preview(self, sample: FakeSample, /) -> NDArray[np.uint8]:
        return np.zeros((8, 8, 3), np.uint8)

    def decode(self, samples: list[FakeSample], /) -> list[NDArray[np.uint8]]:
        sources = [np.random.default_rng([sample.job.seed, sample.job.class_id]) for sample in samples]
        return [source.integers(0, 256, (64, 64, 3), np.uint8) for source in sources]


def load(model: str, configure: Configure) -> tuple[ModelInfo, FakeDoor]:
    """The fake model of this name."""
    name, _, fifo = model.partition(":")
    kind, resolution = name.split("-")
    if kind == "broken":
        raise ValueError(f"{model} is broken: take another")
    if kind == "flaky" or (kind == "half" and configure.device == "fake:1"):
        raise RuntimeError("out of luck")
    if kind == "waiting":
        Path(fifo).read_bytes()
    labels = tuple((f"class {k}", f"kind {k}") for k in range(100))
    samplers = ("ddim", "ddpm", "dpm++")
    device = configure.device or "cpu"
    info = ModelInfo(name, int(resolution), 100, labels, 1000, samplers, 4, "float32", device, "00" * 32)
    return info, FakeDoor()
