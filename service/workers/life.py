"""What is known of one worker process: a frozen value that is replaced as the process goes on. Knows no process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from dit_serve.models.options import ModelInfo


class State(Enum):
    """What a process does."""

    STARTING = "starting"
    UP = "up"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Life:
    """One process, from its start to its end.

    Args:
        state: what it does.
        pid: of the process, None where there is none.
        loading: the checkpoint that it loads now.
        models: what it has loaded, by name.
        places: the most rows that a batch of each model may have.
        ready_at: by the event loop's clock.
        has_worked: whether it was given any job.
        error: why it cannot serve, in its own last words, if it had any, or in ours, if it was refused.
        is_refused: whether it loaded something else than is being served.
        how_it_ended: in words; why it was killed, if we did it.
    """

    state: State = State.STARTING
    pid: int | None = None
    loading: str = ""
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    ready_at: float = 0.0
    has_worked: bool = False
    error: str = ""
    is_refused: bool = False
    how_it_ended: str = ""
