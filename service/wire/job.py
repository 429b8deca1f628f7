"""What a caller asked for (Job), what came out (JobEnd), and the events between: one image each.

The values here cross the process border, so they are plain and frozen. What a row of a batch is *doing* is the engine's
own affair (`service.engine.rows.Row`). Moments (`at`) are of the monotonic clock that all processes of a machine share.
Knows no HTTP, no process and no tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from dit_serve.models.options import SampleSpec


class Outcome(StrEnum):
    """How a job ended. Every job ends exactly once, in one of these ways."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Job:
    """One image that somebody asked for; the seed is fixed, so it can be made again at any time.

    Args:
        id: unique within the HTTP process that accepted it, rising with acceptance.
        request_id: the request that it belongs to, for the logs.
        model: the name of the model that makes it.
        spec: what the image is asked to be.
        preview_every: a look at the image is wanted after every so many steps; 0 for none. It changes no image.
    """

    id: int
    request_id: str
    model: str
    spec: SampleSpec
    preview_every: int = 0

    @property
    def sequences(self) -> int:
        """How many rows of the network's batch the job takes."""
        return self.spec.sequences

    @property
    def group(self) -> tuple[str, float]:
        """The queue's grouping: (model, guidance scale)."""
        return self.model, self.spec.guidance_scale


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one image spent in each stage.

    The engine measures the work; `queue` is all time since acceptance that is no work, restarts of a worker included,
    and is filled in where the job ends, by the front, which alone knows it.
    """

    queue: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0
    encode: float = 0.0

    def stages(self) -> dict[str, float]:
        """The seconds by the stage's name, in order."""
        return {"queue": self.queue, "denoise": self.denoise, "decode": self.decode, "encode": self.encode}

    @property
    def total(self) -> float:
        """Seconds of all stages together."""
        return sum(self.stages().values())


@dataclass(frozen=True, slots=True)
class Started:
    """These jobs have left the queue and take part in the next step."""

    job_ids: tuple[int, ...]
    at: float
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class Stepped:
    """One denoising step has been made.

    Args:
        job_ids: the jobs that took part; each has one step fewer to go.
        model: which one ran.
        sequences: rows of the batch.
        seconds: wall time of the step.
        at: when it was done.
        places: most rows that the batch could have had.
        cache_hits, cache_misses: rows of modulations that were found kept, and that had to be computed.
    """

    job_ids: tuple[int, ...]
    model: str
    sequences: int
    seconds: float
    at: float
    places: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    kind: Literal["stepped"] = "stepped"


@dataclass(frozen=True, slots=True)
class Preview:
    """A small look at an image on its way.

    Args:
        job_id: which one.
        step: steps made when it was taken.
        png: the look, without a receipt.
    """

    job_id: int
    step: int
    png: bytes = b""
    kind: Literal["preview"] = "preview"


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Memory ran out in a step; it is taken again in halves, and batches of this model stay smaller.

    Args:
        model: which one ran.
        max_batch_sequences: the most rows from now on.
    """

    model: str
    max_batch_sequences: int
    kind: Literal["shrunk"] = "shrunk"


@dataclass(frozen=True, slots=True)
class Split:
    """A step or a decoding had to be done in parts.

    Args:
        model: which one ran.
        bisections: how often a part was halved to find the images that an error is about.
        memory_splits: how often because memory was too small for it.
    """

    model: str
    bisections: int
    memory_splits: int
    kind: Literal["split"] = "split"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """What came out of a job.

    Args:
        job_id: which one.
        outcome: how it ended.
        png: the image if completed, else empty.
        timings: seconds of work, as far as it came.
        reason: if failed, the exception's type and text, for the log alone.
    """

    job_id: int
    outcome: Outcome
    png: bytes = b""
    timings: Timings = Timings()
    reason: str = ""
    kind: Literal["job_end"] = "job_end"


Event = Started | Stepped | Preview | Shrunk | Split | JobEnd
