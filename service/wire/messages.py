"""What the HTTP process and a worker say to each other; `service.wire.frames` carries it.

Plain frozen values, each with its `kind`. The engine's events (`service.wire.job`) are messages too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dit_serve.service.wire.job import Job, JobEnd, Preview, Shrunk, Split, Started, Stepped


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the HTTP side knows of a loaded model.

    Args:
        name: short name for people and receipts.
        resolution: side of its images in pixels.
        num_classes: class ids are 0 to num_classes - 1.
        labels: names by class id, none where unknown.
        max_steps: most denoising steps.
        samplers: names of the samplers, the default one first.
        guidance_channels: how many latent channels are guided.
        dtype, device: where and how it computes, "bfloat16", "cuda:0".
        sha256: of the weights.
        vae: the autoencoder's name, "" if it came with the checkpoint.
    """

    name: str
    resolution: int
    num_classes: int
    labels: tuple[tuple[str, ...], ...]
    max_steps: int
    samplers: tuple[str, ...]
    guidance_channels: int
    dtype: str
    device: str
    sha256: str
    vae: str = ""

    def names(self, class_id: int) -> tuple[str, ...]:
        """The names of a class, none if it has none."""
        return self.labels[class_id] if class_id < len(self.labels) else ()

    def class_name(self, class_id: int) -> str:
        """The first name of a class, "" if it has none."""
        return next(iter(self.names(class_id)), "")


@dataclass(frozen=True, slots=True)
class Configure:
    """First message to a worker: what to load, how to batch, what a hang is and a silence; see `service.settings`."""

    models: tuple[str, ...]
    vae: str | None
    device: str | None
    dtype: str | None
    max_batch_sequences: int
    fill_across_guidance: bool
    batch_invariant: bool = True
    step_timeout_seconds: float = 20.0
    silence_seconds: float = 1.5
    modulation_cache_bytes: int = 1 << 30
    kind: Literal["configure"] = "configure"


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """To a worker: make this image."""

    job: Job
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True, slots=True)
class CancelJob:
    """To a worker: give this image up."""

    job_id: int
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class Loading:
    """From a worker: this model is being loaded now."""

    model: str
    kind: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: everything is loaded, jobs are welcome."""

    models: tuple[ModelInfo, ...]
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """From a worker, at regular times: it runs, and so does its work.

    Args:
        overdue: work that has taken too long and will hardly end, in words for the log; else empty.
    """

    overdue: str = ""
    kind: Literal["heartbeat"] = "heartbeat"


@dataclass(frozen=True, slots=True)
class Fatal:
    """From a worker, before it ends: why it cannot serve.

    Args:
        sentence: for the operator's eyes; may name files.
        error: the exception's type.
        is_permanent: whether the same start would fail again (bad checkpoint, absent device).
    """

    sentence: str
    error: str
    is_permanent: bool
    kind: Literal["fatal"] = "fatal"


ToWorker = Configure | SubmitJob | CancelJob
FromWorker = Loading | Ready | Heartbeat | Fatal | Started | Stepped | Preview | Shrunk | Split | JobEnd
Message = ToWorker | FromWorker
