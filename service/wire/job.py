"""What a caller asked for (Job), what came out (JobEnd), and the events between: one image each.

The values here cross the process border, so they are plain and frozen. What a row of a
batch is *doing* is the engine's own affair (`service.engine.engine.Row`). Knows no HTTP, no
process and no tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


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
        resolution: side of the image in pixels; it names the model.
        class_id: 0 to classes - 1.
        seed: 0 to 2**63 - 1.
        steps: number of denoising steps.
        guidance_scale: 1 means no guidance.
        sampler: a name that the model knows.
        preview_every: a look at the image is wanted after every so many steps; 0 for none. It changes no image.
    """

    id: int
    request_id: str
    resolution: int
    class_id: int
    seed: int
    steps: int
    guidance_scale: float
    sampler: str
    preview_every: int = 0

    @property
    def sequences(self) -> int:
        """How many rows of the network's batch the job takes: two if guided, else one."""
        return 1 if self.guidance_scale == 1 else 2

    @property
    def group(self) -> tuple[int, float]:
        """The queue's grouping: (resolution, guidance scale)."""
        return self.resolution, self.guidance_scale


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one image spent in each stage; `queue_seconds` is measured from acceptance by the engine."""

    queue_seconds: float = 0.0
    denoise_seconds: float = 0.0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0

    @property
    def total_seconds(self) -> float:
        """All stages together."""
        return self.queue_seconds + self.denoise_seconds + self.decode_seconds + self.encode_seconds


@dataclass(frozen=True, slots=True)
class Started:
    """These jobs have left the queue and take part in the next step."""

    job_ids: tuple[int, ...]
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class Stepped:
    """One denoising step has been made.

    Args:
        job_ids: the jobs that took part; each has one step fewer to go.
        resolution: the model that ran.
        sequences: rows of the batch.
        seconds: wall time of the step.
        places: most rows that the batch could have had.
        cache_hits, cache_misses: rows of modulations that were found kept, and that had to be computed.
    """

    job_ids: tuple[int, ...]
    resolution: int
    sequences: int
    seconds: float
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
    """Memory ran out in a step; it is taken again in halves, and batches of this resolution stay smaller.

    Args:
        resolution: the model that ran.
        max_batch_sequences: the most rows from now on.
    """

    resolution: int
    max_batch_sequences: int
    kind: Literal["shrunk"] = "shrunk"


@dataclass(frozen=True, slots=True)
class Split:
    """A step or a decoding had to be done in parts.

    Args:
        resolution: the model that ran.
        bisections: how often a part was halved to find the images that an error is about.
        memory_splits: how often because memory was too small for it.
    """

    resolution: int
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
        timings: seconds per stage, as far as it came.
        reason: if failed, the exception's type and text, for the log alone.
    """

    job_id: int
    outcome: Outcome
    png: bytes = b""
    timings: Timings = Timings()
    reason: str = ""
    kind: Literal["job_end"] = "job_end"


Event = Started | Stepped | Preview | Shrunk | Split | JobEnd
