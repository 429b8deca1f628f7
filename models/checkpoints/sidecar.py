"""NAME.json beside a weights file: what the file does not say of itself, written by whoever serves it.

    {"num_heads": 6, "num_classes": 10, "guidance_channels": 16, "vae": "../my-vae", "objective": "epsilon"}

Every entry is optional, an unknown one is refused with the nearest known. A config.json of diffusers is another thing
and is left to diffusers_folder.py. Knows no tensor: whether the values fit the weights is said where they are used.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dit_serve.models.checkpoints.files import read_json
from dit_serve.models.checkpoints.hub import is_hub_id
from dit_serve.models.errors import CheckpointError
from dit_serve.models.sampling.schedule import PREDICTION_TYPES

FLOW_OBJECTIVES = ("velocity", "flow", "flow_matching", "rectified_flow", "score")
_MOST = {"num_heads": 1024, "guidance_channels": 1024, "num_classes": 1_000_000, "input_size": 512}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The entries of a sidecar, None for those that it does not have.

    Attributes:
        num_heads: attention heads.
        guidance_channels: how many latent channels are guided, the first ones.
        num_classes: classes without the null class; as many as the label table has rows if there is none.
        objective: what the network predicts, one of PREDICTION_TYPES.
        input_size: side of the latent, for files without positions.
        id2label: the classes' names, in a form that `labels.names_of` takes.
        vae: folder or file of the autoencoder, or its hub id.
        name: what the model is called.
    """

    num_heads: int | None = None
    guidance_channels: int | None = None
    num_classes: int | None = None
    objective: str | None = None
    input_size: int | None = None
    id2label: object = None
    vae: Path | str | None = None
    name: str | None = None


def sidecar_path(weights: Path) -> Path:
    """Return where the sidecar of a weights file is looked for."""
    return weights.with_suffix(".json")


def read_sidecar(weights: Path) -> Sidecar:
    """Return what stands in the sidecar of a weights file; nothing where there is none.

    Raises:
        CheckpointError: it is no JSON object, has an unknown entry, or one with a value that is not allowed.
    """
    path = sidecar_path(weights)
    if not path.exists() or path.is_dir():
        return Sidecar()
    given = read_json(path)
    if "_class_name" in given:
        return Sidecar()
    known = [field.name for field in fields(Sidecar)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key[:40], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            raise CheckpointError(f"{path}: has no entry {_cut(key)}, only {', '.join(known)}: {hint}")
    return Sidecar(**{key: _checked(path, key, value) for key, value in given.items()})


def _checked(path: Path, key: str, value: Any) -> Any:
    """The value of an entry as the Sidecar has it."""
    if key in _MOST:
        if type(value) is not int or not 1 <= value <= _MOST[key]:
            raise _refused(path, key, f"a whole number from 1 to {_MOST[key]}", value)
    elif key == "objective":
        if value in FLOW_OBJECTIVES:
            raise CheckpointError(
                f"{path}: objective {value} is that of flow matching (SiT, REPA), which is not sampled here, "
                f"only {', '.join(PREDICTION_TYPES)}: choose a DiT"
            )
        if value not in PREDICTION_TYPES:
            raise _refused(path, key, " or ".join(PREDICTION_TYPES), value)
    elif key == "name":
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise _refused(path, key, "1 to 64 letters, digits and ._-", value)
    elif key == "vae":
        return _autoencoder(path, value)
    elif not isinstance(value, (dict, list)):
        raise _refused(path, key, "an object or a list of names", value)
    return value


def _autoencoder(path: Path, value: object) -> Path | str:
    """Where the autoencoder is: beside the sidecar, else a hub id."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise _refused(path, "vae", "a path relative to this file, or a hub id (owner/name)", value)
    try:
        if (path.parent / value).exists():
            return path.parent / value
    except OSError as error:
        raise _refused(path, "vae", "a path relative to this file, or a hub id (owner/name)", value) from error
    if is_hub_id(value):
        return value
    raise CheckpointError(
        f"{path}: vae names {_cut(value)}, which is no file or folder beside it and no hub id (owner/name): correct it"
    )


def _refused(path: Path, key: str, allowed: str, value: object) -> CheckpointError:
    return CheckpointError(f"{path}: {key} must be {allowed}, got {_cut(value)}: correct or remove it")


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
