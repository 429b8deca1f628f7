"""Whether a worker has loaded what is being served: an image is a function of its request, whichever worker makes it.

A checkpoint may be replaced on disk while it is served, and so may the packages that compute it; or one of the devices
may be of another kind. What is served then stays what was loaded first. Knows no worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dit_serve.models.options import ModelInfo

SHOWN = 12  # digits of a SHA-256


def why_other(served: Mapping[str, ModelInfo], loaded: Mapping[str, ModelInfo]) -> str:
    """What sets the loaded models apart from the served ones, in a sentence; empty if nothing does but the device."""
    for name, model in served.items():
        found = loaded.get(name)
        if found is None or replace(found, device="", build=()) != replace(model, device="", build=()):
            return f"{_difference(model, found)}: put its files back, or start the service again"
        if found.build != model.build:
            ours, theirs = _parted(found.build, model.build)
            return (
                f"it would give {name} other bytes than are served, as it computes by {ours}, and the others by "
                f"{theirs}: give all workers devices of one kind, and start the service again"
            )
    return ""


def _difference(model: ModelInfo, found: ModelInfo | None) -> str:
    changed = f"the files of {model.name} have changed since it was loaded"
    if found is None or found.sha256 == model.sha256:
        return changed
    return f"{changed} (SHA-256 {found.sha256[:SHOWN]}…, served is {model.sha256[:SHOWN]}…)"


def _parted(found: Sequence[str], served: Sequence[str]) -> tuple[str, str]:
    """The parts of two builds that the other one has not."""
    ours, theirs = ([part for part in one if part not in other] for one, other in ((found, served), (served, found)))
    return ", ".join(ours) or "less", ", ".join(theirs) or "more"
