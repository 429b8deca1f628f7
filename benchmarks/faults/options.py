"""How large each chaos measurement is, and which model it runs on. Knows no server."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.server import fake_command, serve_command

SLOW_CLASS = 92  # of the tests' fake model: each step sleeps 20 ms


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of all measurements.

    Args:
        model: "digits-64", or "fake" for the tests' model of which every process is real and no image is.
        drain_model: the same for R3, which starts a server for every signal.
        overload_seconds: length of one of R1's floods.
        overload_rounds: how many there are, each followed by as many images without refusals.
        leaving: R2's clients.
        terminations: R3's servers.
        crashes: R4's killed workers.
        batches: R5's batches.
        slow_sockets: R8's connections.
        queue_sequences: R1's and R2's bound of the queue, a multiple of 16.
        limit_seconds: R8's limits for headers and bodies.
    """

    model: str = "digits-64"
    drain_model: str = "fake"
    overload_seconds: float = 60.0
    overload_rounds: int = 3
    leaving: int = 1000
    terminations: int = 100
    crashes: int = 100
    batches: int = 10_000
    slow_sockets: int = 1000
    queue_sequences: int = 128
    limit_seconds: float = 5.0

    @property
    def is_fake(self) -> bool:
        """Whether no image is real."""
        return self.model == "fake"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the server's processes: one thread computes, so that clients and server have a core too."""
        return {"OMP_NUM_THREADS": "1"}

    def command(self, *flags: str) -> list[str]:
        """How to start the server, its log complete; with one worker, so that there is one to be hit."""
        flags = ("--log-level", "debug", "--devices", "cpu", *flags)
        return fake_command(*flags) if self.is_fake else serve_command(*flags, model=self.model)

    def class_of(self, number: int) -> int:
        """A class to ask for: of the fake model the one that takes time."""
        return SLOW_CLASS if self.is_fake else number % 10


def short() -> Options:
    """The form for continuous integration: all of it within a minute on one core."""
    return Options(
        "fake", "fake", overload_seconds=3.0, overload_rounds=1, leaving=40, terminations=2, crashes=3, batches=500,
        slow_sockets=60, queue_sequences=32, limit_seconds=1.0,
    )  # fmt: skip
