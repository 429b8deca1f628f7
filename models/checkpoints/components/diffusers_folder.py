"""What a folder of diffusers' layout says about a DiT: where it is, its model_index.json, what must not be in it.

    model_index.json   transformer/{config.json, weights}   scheduler/scheduler_config.json   vae/

Nothing that a folder brings is ever run: components are those listed here, whatever a file asks for, and a folder
with Python code in it is refused, because its author expects that code to run. Knows no tensors; the components' own
configs are read in transformer_config.py, scheduler_config.py and vae_folder.py.

References: diffusers' DiTPipeline; the folders that accelerate's trainers write (checkpoint-500/transformer_ema).
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from dit_serve.models.checkpoints.components.component_weights import NO_WEIGHTS, WEIGHTS_ENDINGS
from dit_serve.models.checkpoints.components.transformer_config import OWN_TRANSFORMER, TRANSFORMERS
from dit_serve.models.checkpoints.files import read_config, read_json, reason
from dit_serve.models.errors import CheckpointError, listed
from dit_serve.models.labels import Names, names_of

TRANSFORMER, TRANSFORMER_EMA = "transformer", "transformer_ema"  # as trainers name their folders
_MOST_LEVELS, _MOST_FOLDERS = 3, 1000  # that are looked into for a model


def find_model(folder: Path, wanted: str | None = None) -> Path:
    """Return the folder itself if it holds a model of diffusers' layout, or the only one inside it that does.

    Args:
        folder: a model's folder, or one around it.
        wanted: "model" or "ema", for a trainer's folder that has transformer and transformer_ema; by default the EMA.

    Raises:
        CheckpointError: there is none, or several; the message says what to give.
    """
    if any((folder / name).exists() for name in ("model_index.json", "config.json")):
        return folder
    level = [path for path in _inside(folder) if path.is_dir()]
    for _ in range(_MOST_LEVELS):
        if found := [path for path in level if _is_model(path)]:
            return _only_one(folder, found, wanted)
        level = [path for parent in level for path in _folders(parent)][:_MOST_FOLDERS]
    files = [path.name for path in _inside(folder) if path.suffix in WEIGHTS_ENDINGS and path.is_file()]
    if weights := sorted((name for name in files if not name.startswith(NO_WEIGHTS)), reverse=True):  # last one first
        raise CheckpointError(
            f"{folder}: a folder of weights, not of diffusers' layout: give one of its files: {listed(weights)}"
        )
    raise CheckpointError(
        f"{folder}: holds neither model_index.json nor config.json: give a folder of diffusers' layout, or a file"
    )


def _only_one(folder: Path, found: list[Path], wanted: str | None) -> Path:
    """Of the models found inside a folder the one that is meant."""
    parent = found[0].parent
    if parent / "transformer" in found and any((parent / name).is_dir() for name in ("vae", "scheduler")):
        raise CheckpointError(
            f"{parent}: a pipeline's folder without its model_index.json: copy that too, or give its transformer folder"
        )
    if set(found) == {parent / TRANSFORMER, parent / TRANSFORMER_EMA}:
        found = [parent / (TRANSFORMER if wanted == "model" else TRANSFORMER_EMA)]
    if len(found) > 1:
        told = listed(str(path.relative_to(folder)) for path in found)
        raise CheckpointError(f"{folder}: holds several models: give the folder of one: {told}")
    logging.getLogger("dit.models").info("%s: %s in it is opened", folder, found[0].relative_to(folder))
    return found[0]


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({reason(error)}): give a readable folder") from error


def _folders(folder: Path) -> list[Path]:
    """The folders in one that was not asked for by name, none where it cannot be read."""
    with contextlib.suppress(CheckpointError, OSError):
        return [path for path in _inside(folder) if path.is_dir()]
    return []


def _is_model(folder: Path) -> bool:
    """Whether a folder that was not asked for by name holds a pipeline, or a transformer and not another component."""
    with contextlib.suppress(CheckpointError, OSError):
        if (folder / "model_index.json").exists():
            return True
        return read_json(folder / "config.json").get("_class_name") in (*TRANSFORMERS, OWN_TRANSFORMER)
    return False


def refuse_code(folder: Path) -> None:
    """Refuse a checkpoint's folder that brings Python code, at its top or in a component's folder.

    Raises:
        CheckpointError: names the files.
    """
    found = sorted(
        str(path.relative_to(folder))
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.suffix.lower() == ".py"
    )
    if found:
        raise CheckpointError(
            f"{folder}: brings code, and a checkpoint's code is never run: {listed(found)}: "
            "remove the files if the model is a plain DiT"
        )


def read_index(folder: Path) -> dict[str, Any]:
    """Return the folder's model_index.json, every entry of which is known and allowed; null ones are left out.

    Raises:
        CheckpointError: an entry is missing, unknown, or asks for another class.
    """
    path = folder / "model_index.json"
    index = {name: value for name, value in read_config(path).items() if value not in (None, [None, None])}
    if index.get("_class_name") != "DiTPipeline":
        raise CheckpointError(
            f"{path}: _class_name must be DiTPipeline, got {str(index.get('_class_name'))[:80]!r}: choose a DiT"
        )
    unknown = sorted(
        name for name in set(index) - {"transformer", "scheduler", "vae", "id2label"} if not name.startswith("_")
    )
    if unknown:
        raise CheckpointError(f"{path}: entries that are not a DiT's: {listed(unknown)}: choose a plain DiT checkpoint")
    if index.get("transformer") != ["dit_serve", OWN_TRANSFORMER]:
        _check_component(path, "transformer", index.get("transformer"), TRANSFORMERS)
    if "scheduler" in index:
        _check_component(path, "scheduler", index["scheduler"], None)
    if "vae" in index:
        _check_component(path, "vae", index["vae"], ("AutoencoderKL",))
    return index


def read_labels(path: Path, id2label: object, num_classes: int) -> Names:
    """Return the names in model_index.json's id2label, in any form that `names_of` takes; () if there is none.

    Raises:
        CheckpointError: it is in none, or an entry is no class id of this model or no name.
    """
    if id2label is None:
        return ()
    try:
        return names_of(id2label, num_classes)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}: correct or remove it") from error


def _check_component(path: Path, name: str, entry: object, classes: tuple[str, ...] | None) -> None:
    """Refuse a component that is not written ["diffusers", one of the classes]; any class where classes is None."""
    allowed = " or ".join(classes) if classes else "a scheduler"
    refused = f"{path}: {name} must be {allowed} of diffusers, got {repr(entry)[:80]}"
    match entry:
        case ["diffusers", str(class_name)]:
            if classes is not None and class_name not in classes:
                raise CheckpointError(f"{refused}: no other is read here")
        case _:
            raise CheckpointError(f"{refused}: other components would be code that is never run")
