"""How large each chaos measurement is, and which model it runs on."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tests.service.fake import SLOW
from tests.service.running import FREE_PORTS, fake_command


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of all measurements."""

    model: str = "digits-64"  # or "fake": the tests' model, of which every process is real and no image is
    drain_model: str = "fake"  # the same for R3, which starts a server for every signal
    overload_seconds: float = 60.0  # length of one of R1's floods
    overload_rounds: int = 3  # how many there are, each followed by as many images without refusals
    peak_images: int = 512  # made before R1's floods, to learn what ten times as many are
    leaving: int = 1000  # R2's clients
    terminations: int = 100  # R3's servers
    crashes: int = 100  # R4's killed workers
    batches: int = 10_000  # R5's batches
    slow_sockets: int = 1000  # R8's connections
    queue_sequences: int = 128  # R1's and R2's bound of the queue, a multiple of 16
    descriptors: int = 512  # R17's bound of open files
    pause_seconds: float = 15.0  # R17's, of all processes
    limit_seconds: float = 5.0  # R8's limits for headers and bodies

    def command(self, *flags: str) -> list[str]:
        """How to start the server, its log complete; with one worker, so that there is one to be hit."""
        flags = ("--log-level", "debug", "--devices", "cpu", *flags)
        real = [sys.executable, "-m", "dit_serve", "serve", *FREE_PORTS, "--models", self.model, *flags]
        return fake_command(*flags, models="fake-64") if self.model == "fake" else real

    def body(self, number: int, steps: int, cfg: float = 1.5) -> dict[str, object]:
        """The request of this number; its class is the one that takes time where the model is fake."""
        return {"class_id": SLOW if self.model == "fake" else number % 10, "cfg": cfg, "steps": steps, "seed": number}


def short() -> Options:
    """The form for continuous integration: all of it within a minute on one core."""
    return Options(
        "fake", "fake", overload_seconds=3.0, overload_rounds=1, peak_images=45, leaving=40, terminations=2, crashes=3,
        batches=500, slow_sockets=60, queue_sequences=32, descriptors=256, pause_seconds=3.0, limit_seconds=1.0,
    )
