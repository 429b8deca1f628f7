"""A checkpoint as a value: everything about it except its tensors, read from its files without loading them.

`open_checkpoint` takes a file, a folder or a hub id and recognises by content what it is:

    a file       .safetensors, or what torch.save wrote: a state dict or a training checkpoint, in the original names
    a folder     of diffusers' layout: a whole pipeline (model_index.json) or a transformer alone (config.json)
    a hub id     owner/name, or owner/name@revision: such a folder, downloaded

Knows no sampling. Builds no network: weights.py does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.convert import ensure_safetensors
from dit_serve.models.checkpoints.diffusers_folder import (
    find_weights,
    read_index,
    read_labels,
    read_schedule,
    read_transformer_config,
    refuse_code,
)
from dit_serve.models.checkpoints.files import read_json, reason
from dit_serve.models.checkpoints.hub import fetch_dit, is_hub_id
from dit_serve.models.checkpoints.layouts import (
    Layout,
    check_tensors,
    have_own_embedders,
    original_config,
    pieces,
    recognise,
)
from dit_serve.models.checkpoints.tensor_files import read_headers
from dit_serve.models.checkpoints.wrappers import read_facts, read_selected
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.labels import Names, imagenet_names
from dit_serve.models.sampling.schedule import Schedule

ORIGINAL_GUIDANCE_CHANNELS = 3  # of four: the published results guide no more of them; diffusers guides all


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything about a checkpoint except its tensors.

    Attributes:
        name: short, for people and receipts: folder name, hub id or file stem.
        config: the architecture.
        schedule: the noise schedule that it was trained on.
        guidance_channels: latent channels that guidance acts on, the first ones.
        labels: names by class id, () where a class has none.
        weights: the transformer's safetensors files.
        layout: whose names the tensors have.
        vae: folder of the autoencoder, if the checkpoint brings one.
        sha256: of the weights files as they were given, before any conversion, one after another in order of name.
        revision: the hub's commit, for a hub id.
        which: "model" or "ema", "" where the weights are of one model and do not say which.
    """

    name: str
    config: DiTConfig
    schedule: Schedule
    guidance_channels: int
    labels: Names
    weights: tuple[Path, ...]
    layout: Layout
    vae: Path | None
    sha256: str
    revision: str | None = None
    which: str = ""


def open_checkpoint(
    path_or_id: str | Path, *, revision: str | None = None, weights: str | None = None
) -> Checkpoint:
    """Return what a file, a folder or a hub repository holds.

    Args:
        revision: branch, tag or commit of a hub id.
        weights: "model" or "ema", of a file that holds both; None takes the EMA.

    Raises:
        CheckpointError: it cannot be used; the message says what is wrong and what to do.
    """
    path = Path(path_or_id)
    if _exists(path):
        if revision is not None:
            raise CheckpointError(f"{path}: is a local file or folder and has no revision {revision!r}: leave it out")
        return _open_folder(path) if path.is_dir() else _open_file(path, weights)
    if is_hub_id(str(path_or_id)):
        snapshot = fetch_dit(str(path_or_id), revision)
        return replace(_open_folder(snapshot.folder), name=snapshot.repository, revision=snapshot.commit)
    raise CheckpointError(f"{path_or_id}: no such file or folder, and no hub id (owner/name): check the path")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)[:80]!r}: cannot be a path ({reason(error)}): check it") from error


def _open_folder(folder: Path) -> Checkpoint:
    refuse_code(folder)
    if not (folder / "model_index.json").exists():
        if not (folder / "config.json").exists():
            raise CheckpointError(
                f"{folder}: holds neither model_index.json nor config.json: "
                "give a folder of diffusers' layout, or a file"
            )
        return _open_diffusers(folder, find_weights(folder))
    index = read_index(folder)
    opened = _open_diffusers(folder / "transformer", find_weights(folder / "transformer"))
    if "vae" in index and not (folder / "vae" / "config.json").exists():
        raise CheckpointError(f"{folder / 'vae'}: model_index.json lists an autoencoder that is not there: download it")
    names = read_labels(folder / "model_index.json", index.get("id2label"), opened.config.num_classes)
    return replace(
        opened,
        name=folder.resolve().name,
        schedule=read_schedule(folder / "scheduler", index["scheduler"][1]),
        labels=names or opened.labels,
        vae=folder / "vae" if "vae" in index else None,
    )


def _open_file(path: Path, wanted: str | None) -> Checkpoint:
    weights = ensure_safetensors(path, weights=wanted)
    facts = read_facts(weights)
    selected = read_selected([weights], wanted, path)
    found = selected.found
    if recognise(found, path) == "diffusers":
        if not (path.parent / "config.json").exists():
            raise CheckpointError(
                f"{path}: holds a transformer in diffusers' names, whose latent size and heads stand in config.json: "
                "put that file beside it, or give the whole folder"
            )
        return replace(_open_diffusers(path.parent, (path,)), name=path.stem)
    config = original_config(found, _given_heads(path, facts.args.get("num_heads")), path)
    return Checkpoint(
        name=path.stem,
        config=config,
        schedule=Schedule(),
        guidance_channels=min(ORIGINAL_GUIDANCE_CHANNELS, config.in_channels),
        labels=_usual_labels(config),
        weights=(weights,),
        layout="original",
        vae=None,
        sha256=files_sha256([path]),
        which=selected.which,
    )


def _open_diffusers(folder: Path, sources: Sequence[Path]) -> Checkpoint:
    """The transformer of config.json in `folder` with its weights files, as a checkpoint of its own."""
    config = read_transformer_config(folder / "config.json")
    weights = tuple(ensure_safetensors(path, part="whole") for path in sources)
    found = read_headers(weights)
    where = sources[0] if len(sources) == 1 else folder
    check_tensors(found, pieces("diffusers", config), where)
    return Checkpoint(
        name=folder.resolve().name,
        config=replace(config, per_block_embedders=have_own_embedders(found, config)),
        schedule=Schedule(),
        guidance_channels=config.in_channels,
        labels=_usual_labels(config),
        weights=weights,
        layout="diffusers",
        vae=None,
        sha256=files_sha256(sources),
    )


def _given_heads(path: Path, stored: object) -> int | None:
    """The number of heads that stands beside the file, in NAME.json, or in its trainer's arguments; None if nowhere."""
    beside = path.with_suffix(".json")
    if beside.exists():
        given = read_json(beside)
        if set(given) == {"num_heads"} and type(given["num_heads"]) is int and given["num_heads"] > 0:
            return int(given["num_heads"])
        raise CheckpointError(f'{beside}: must be {{"num_heads": N}} and nothing else: correct or remove it')
    return stored if type(stored) is int and 0 < stored < 1 << 16 else None


def _usual_labels(config: DiTConfig) -> Names:
    """ImageNet's names where there are 1000 classes, as its DiTs have; otherwise none."""
    return imagenet_names() if config.num_classes == 1000 else ((),) * config.num_classes
