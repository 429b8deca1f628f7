"""What the HTTP process and a worker say to each other; `service.wire.frames` carries it.

Plain frozen values, each with its `kind`. The engine's events (`service.wire.job`) are messages too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dit_serve.models.options import ModelInfo, ModelOptions
from dit_serve.service.wire.job import Job, JobEnd, Preview, Shrunk, Split, Started, Stepped


@dataclass(frozen=True, slots=True)
class Configure:
    """First message to a worker: what to load, how to batch, what a hang is and a silence; see `service.settings`.

    Args:
        models: checkpoints, each with the name that it is to have if one was chosen: "name=path".
        options: how each is loaded and run.
    """

    models: tuple[str, ...]
    options: ModelOptions = field(default_factory=ModelOptions)
    max_batch_sequences: int = 16
    fill_across_guidance: bool = True
    step_timeout_seconds: float = 20.0
    silence_seconds: float = 1.5
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
class Imported:
    """From a worker, before it is told what to load or after: its libraries are there, it can begin."""

    kind: Literal["imported"] = "imported"


@dataclass(frozen=True, slots=True)
class Loading:
    """From a worker: this model is being loaded now."""

    model: str
    kind: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: everything is loaded, jobs are welcome.

    Args:
        models: in the order of the settings.
        places: the most rows that a batch of each may have here, by the model's name.
    """

    models: tuple[ModelInfo, ...]
    places: dict[str, int]
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """From a worker, at regular times from its start on: it runs, and so does its work.

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
FromWorker = Imported | Loading | Ready | Heartbeat | Fatal | Started | Stepped | Preview | Shrunk | Split | JobEnd
Message = ToWorker | FromWorker
