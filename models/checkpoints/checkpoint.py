"""A checkpoint as a value: everything about it except its tensors, read from its files without loading them.

`open_checkpoint` takes a file, a folder or a hub id and recognises by content what it is:

    a file       .safetensors, or what torch.save wrote: a state dict or a training checkpoint, in the original names
    a folder     of diffusers' layout: a whole pipeline (model_index.json) or a transformer alone (config.json)
                 with diffusers' tensors or, if its blocks are not adaLN-Zero, with ours
    a hub id     owner/name, or owner/name@revision: such a folder, downloaded

Knows no sampling. Builds no network: weights.py does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.claims import class_table, latent_size, objective, said_count
from dit_serve.models.checkpoints.components.component_weights import find_weights
from dit_serve.models.checkpoints.components.diffusers_folder import (
    TRANSFORMER_EMA,
    find_model,
    read_index,
    read_labels,
    refuse_code,
)
from dit_serve.models.checkpoints.components.scheduler_config import read_schedule
from dit_serve.models.checkpoints.components.transformer_config import read_transformer_config, without_positions
from dit_serve.models.checkpoints.convert import Conversions
from dit_serve.models.checkpoints.files import reason
from dit_serve.models.checkpoints.hub import fetch_dit, is_hub_id
from dit_serve.models.checkpoints.layouts import (
    POSITIONS,
    TRAINING_ONLY,
    Found,
    Layout,
    check_tensors,
    have_own_embedders,
    pieces,
    recognise,
)
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.checkpoints.shapes import label_rows, original_config
from dit_serve.models.checkpoints.sidecar import Sidecar, read_sidecar, sidecar_path
from dit_serve.models.checkpoints.wrappers import Facts, Selected, read_facts, read_selected, told
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.labels import Names, imagenet_names, names_of
from dit_serve.models.registry import DEMOS
from dit_serve.models.sampling.schedule import Schedule

PUBLISHED_CHANNELS, PUBLISHED_GUIDED = 4, 3  # the published results guide three of four; diffusers guides all


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything about a checkpoint except its tensors.

    Attributes:
        name: short, for people and receipts: folder name, hub id or file stem.
        config: the architecture.
        schedule: the noise schedule that it was trained on.
        guidance_channels: latent channels that guidance acts on, the first ones.
        labels: names by class id, () where a class has none.
        source: the file or folder that it was read from, for messages.
        weights: the transformer's safetensors files.
        layout: whose names the tensors have.
        vae: folder, file or hub id of the autoencoder, if the checkpoint brings or names one.
        sha256: of the weights files as they were given, before any conversion, one after another in order of name; of
            a file that `dit convert` wrote, that of its source.
        revision: the hub's commit, for a hub id.
        which: "model" or "ema", "" where the weights are of one model and do not say which, and for folders, whose
            models are told apart by their files' sum.
        taken: what of a trainer's file that is, in words.
        can_guide: whether it has a null class that was trained.
        assumed: what nothing here says and convention gives: "null class", "objective".
        notes: what whoever serves it should know, a phrase each.
    """

    name: str
    config: DiTConfig
    schedule: Schedule
    guidance_channels: int
    labels: Names
    source: Path
    weights: tuple[Path, ...]
    layout: Layout
    vae: Path | str | None
    sha256: str
    revision: str | None = None
    which: str = ""
    taken: str = ""
    can_guide: bool = True
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
        with Conversions() as conversions:
            open_it = _open_folder if path.is_dir() else _open_file
            return open_it(path, weights, conversions)
    if is_hub_id(str(path_or_id)):
        snapshot = fetch_dit(str(path_or_id), revision)
        with Conversions() as conversions:
            opened = _open_folder(snapshot.folder, weights, conversions)
        return replace(opened, name=snapshot.repository, revision=snapshot.commit)
    near = hint(path_or_id, DEMOS)
    raise CheckpointError(f"{path_or_id}: no such file or folder, and no hub id (owner/name): check the path{near}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)[:80]!r}: cannot be a path ({reason(error)}): check it") from error


def _open_folder(folder: Path, wanted: str | None, conversions: Conversions) -> Checkpoint:
    if (found := find_model(folder, wanted)) != folder:
        return replace(_open_folder(found, wanted, conversions), name=folder.resolve().name)
    if wanted == "ema" and folder.name != TRANSFORMER_EMA:
        raise CheckpointError(f"{folder}: holds one model and no EMA of it: leave out `--weights ema`")
    refuse_code(folder)
    if not (folder / "model_index.json").exists():
        return _open_diffusers(folder, find_weights(folder), conversions)
    index = read_index(folder)
    opened = _open_diffusers(folder / "transformer", find_weights(folder / "transformer"), conversions)
    if "vae" in index and not (folder / "vae" / "config.json").exists():
        raise CheckpointError(f"{folder / 'vae'}: model_index.json lists an autoencoder that is not there: download it")
    names = read_labels(folder / "model_index.json", index.get("id2label"), opened.config.num_classes)
    return replace(
        opened,
        name=folder.resolve().name,
        schedule=read_schedule(folder / "scheduler", index.get("scheduler", (None, None))[1]),
        labels=names or opened.labels,
        vae=folder / "vae" if "vae" in index else None,
        assumed=() if "scheduler" in index else opened.assumed,
    )


def _open_file(path: Path, wanted: str | None, conversions: Conversions) -> Checkpoint:
    weights = conversions.ensure(path, weights=wanted, part="dit")
    facts, selected = read_facts(weights), read_selected([weights], wanted, path)
    sidecar = read_sidecar(path)
    if (layout := recognise(selected.found, path)) == "original":
        return _open_original(path, weights, facts, selected, sidecar)
    if not (path.parent / "config.json").exists():
        raise CheckpointError(
            f"{path}: holds a transformer in the names of {layout}, whose latent size and heads stand in config.json: "
            "put that file beside it, or give the whole folder"
        )
    opened = replace(
        _open_diffusers(path.parent, (path,), conversions, (weights,), wanted),
        name=path.stem,
        sha256=_source_sum(path, facts),
        which=selected.which,
        taken=facts.taken or told(selected),
    )
    return _with_sidecar(opened, sidecar, path)


def _open_original(path: Path, weights: Path, facts: Facts, selected: Selected, sidecar: Sidecar) -> Checkpoint:
    """A file in the original names: its shapes, then what the sidecar and its trainer's arguments say."""
    found, args = selected.found, facts.args
    predicts, is_assumed = objective(args, sidecar, found, path)
    heads = sidecar.num_heads or said_count(args, "num_heads")
    shown = original_config(found, heads, path, input_size=latent_size(args, sidecar))
    table = class_table(label_rows(found, path), args, sidecar, path)
    config = replace(shown, num_classes=table.num_classes, has_null_class=table.has_null_class)
    opened = Checkpoint(
        name=path.stem,
        config=config,
        schedule=Schedule(prediction_type=predicts),
        guidance_channels=PUBLISHED_GUIDED if config.in_channels == PUBLISHED_CHANNELS else config.in_channels,
        labels=_usual_labels(config),
        source=path,
        weights=(weights,),
        layout="original",
        vae=None,
        sha256=_source_sum(path, facts),
        which=selected.which,
        taken=facts.taken or told(selected),
        can_guide=table.can_guide,
        assumed=("null class",) * table.is_assumed + ("objective",) * is_assumed,
        notes=tuple(filter(None, (table.note, *_unused(found), *_computed_positions(found, config)))),
    )
    return _with_sidecar(opened, sidecar, path)


def _with_sidecar(opened: Checkpoint, sidecar: Sidecar, path: Path) -> Checkpoint:
    """The checkpoint with what its sidecar says of guidance, names and autoencoder; the rest must agree with it.

    Raises:
        CheckpointError: an entry contradicts the weights.
    """
    beside, config = sidecar_path(path), opened.config
    for key in ("num_heads", "num_classes", "input_size"):
        given, found = getattr(sidecar, key), getattr(config, key)
        if given not in (None, found):
            raise CheckpointError(f"{beside}: {key} {given} contradicts the model, which has {found}: correct it")
    channels = sidecar.guidance_channels or opened.guidance_channels
    if channels > config.in_channels:
        raise CheckpointError(
            f"{beside}: guidance_channels {channels} are more than the latent's {config.in_channels}: correct it"
        )
    try:
        labels = opened.labels if sidecar.id2label is None else names_of(sidecar.id2label, config.num_classes)
    except ValueError as error:
        raise CheckpointError(f"{beside}: {error}: correct or remove it") from error
    return replace(
        opened,
        name=sidecar.name or opened.name,
        guidance_channels=channels,
        labels=labels,
        vae=sidecar.vae or opened.vae,
        schedule=replace(opened.schedule, prediction_type=sidecar.objective or opened.schedule.prediction_type),
        assumed=tuple(word for word in opened.assumed if word != "objective" or sidecar.objective is None),
    )


def _open_diffusers(
    folder: Path,
    sources: Sequence[Path],
    conversions: Conversions,
    converted: Sequence[Path] = (),
    wanted: str | None = None,
) -> Checkpoint:
    """The transformer of config.json in `folder` with its weights files, as a checkpoint of its own.

    Args:
        sources: the files as they were given.
        conversions: makes safetensors of them.
        converted: the same as safetensors, where that is done already.
        wanted: which of the models in them.
    """
    config = read_transformer_config(folder / "config.json")
    weights = tuple(converted or (conversions.ensure(path, part="whole") for path in sources))
    where = sources[0] if len(sources) == 1 else folder
    found: Found = read_selected(weights, wanted, where).found
    layout: Layout = "diffusers" if config.conditioning == "adaln-zero" else "dit-serve"
    if layout == "diffusers":
        found = without_positions(found, config, where)
    recognise(found, where)
    check_tensors(found, pieces(layout, config), where)
    return Checkpoint(
        name=folder.resolve().name,
        config=replace(config, per_block_embedders=layout == "diffusers" and have_own_embedders(found, config)),
        schedule=Schedule(),
        guidance_channels=config.in_channels,
        labels=_usual_labels(config),
        source=where,
        weights=weights,
        layout=layout,
        vae=None,
        sha256=files_sha256(sources),
        assumed=("objective",),
    )


def _source_sum(path: Path, facts: Facts) -> str:
    """The SHA-256 of a file, or of what it was converted from."""
    return facts.source_sha256 or files_sha256([path])


def _unused(found: Found) -> list[str]:
    """A note where tensors of training are left out."""
    unused = sum(name.startswith(TRAINING_ONLY) for name in found)
    return [f"left out: projectors (REPA's, for training, {unused} tensors)"] if unused else []


def _computed_positions(found: Found, config: DiTConfig) -> list[str]:
    """A note where the positions are not stored."""
    side = config.input_size
    return [] if POSITIONS in found else [f"positions: computed for {side} x {side} latents, it has no {POSITIONS}"]


def _usual_labels(config: DiTConfig) -> Names:
    """ImageNet's names where there are 1000 classes, as its DiTs have; otherwise none."""
    return imagenet_names() if config.num_classes == 1000 else ((),) * config.num_classes
