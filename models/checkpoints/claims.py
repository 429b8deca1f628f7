"""What a weights file claims beyond the shapes of its tensors: how many classes, what it predicts, how large it is.

Asked in this order: the sidecar beside it, the arguments of its trainer, its own name; then the published models'
convention, which is called assumed wherever it is told. What contradicts the tensors is refused, and so is a model of
flow matching, whose tensors have a DiT's names and shapes. Knows no file's format.

References: facebookresearch/DiT's LabelEmbedder (a null row where class_dropout_prob > 0); the arguments of the
trainers of DiT, of SiT (arXiv 2401.08740) and of REPA (arXiv 2410.06940).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dit_serve.models.checkpoints.layouts import TRAINING_ONLY
from dit_serve.models.checkpoints.relatives import few
from dit_serve.models.checkpoints.sidecar import FLOW_OBJECTIVES, Sidecar, sidecar_path
from dit_serve.models.errors import CheckpointError

Args = Mapping[str, str | int | float | bool]

IMAGENET_CLASSES = 1000
_DOWNSAMPLING = 8  # of the published autoencoder: trainers' arguments give an image's side, not the latent's
_DROPOUTS = ("class_dropout_prob", "class_dropout", "class_drop_prob", "label_dropout", "label_drop_prob", "cfg_prob")
_PREDICTIONS = {
    "epsilon": "epsilon", "eps": "epsilon", "noise": "epsilon", "pred_noise": "epsilon",
    "v_prediction": "v_prediction", "pred_v": "v_prediction",
    "sample": "sample", "x0": "sample", "xstart": "sample", "x_start": "sample", "pred_x0": "sample",
}
_FLOW_NAME = re.compile(r"(?<![A-Za-z])(?:SiT|REPA)(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClassTable:
    """What the rows of a label table are.

    Attributes:
        num_classes: classes, without the null class.
        has_null_class: whether a row follows them that stands for none.
        can_guide: whether that row is there and was trained.
        is_assumed: whether nothing says so and the convention was taken.
        note: why there is no guidance, or what was assumed against the convention; "" for nothing to say.
    """

    num_classes: int
    has_null_class: bool = True
    can_guide: bool = True
    is_assumed: bool = False
    note: str = ""


def said(args: Args, *names: str) -> str | int | float | bool | None:
    """Return a trainer's argument by the first of its names that is there, also one of a group ("model.num_classes").

    Groups that contradict one another say nothing.
    """
    for name in names:
        if name in args:
            return args[name]
        values = {value for key, value in args.items() if key.rpartition(".")[2].replace("-", "_") == name}
        if len(values) == 1:
            return values.pop()
    return None


def said_count(args: Args, *names: str) -> int | None:
    """Return a trainer's argument that is a positive whole number, as `said` finds it."""
    value = said(args, *names)
    return value if type(value) is int and value > 0 else None


def class_table(rows: int, args: Args, sidecar: Sidecar, path: Path) -> ClassTable:
    """Return what the rows of the label table are.

    Raises:
        CheckpointError: the sidecar or the trainer's arguments say a number that the rows contradict.
    """
    beside = sidecar_path(path).name
    drawn = said(args, *_DROPOUTS)
    dropout = drawn if type(drawn) in (int, float) else None
    count, source = sidecar.num_classes, beside
    if count is None:
        count, source = said_count(args, "num_classes", "n_classes", "num_class"), "its trainer's arguments"
    if count is not None and count not in (rows, rows - 1):
        raise CheckpointError(
            f"{path}: {source} tell of {count} classes, and its label table has {rows} rows: write into {beside} "
            f'{{"num_classes": {rows - 1}}}, or {rows} if no row is the null class'
        )
    if count is not None and count < rows:
        if dropout == 0 and sidecar.num_classes is None:
            note = _no_guidance("its null class was never trained (class dropout 0)")
            return ClassTable(count, can_guide=False, note=note)
        return ClassTable(count)
    if count is not None:
        return _without_null(rows, f"{source} tell of {count} classes, and it has {rows} rows")
    if rows == 1:
        return _without_null(rows, "it has one row")
    if dropout is not None:
        return ClassTable(rows - 1) if dropout else _without_null(rows, "it was trained with class dropout 0")
    if isinstance(sidecar.id2label, (dict, list)) and len(sidecar.id2label) == rows:
        return _without_null(rows, f"{beside} names a class for each of its {rows} rows")
    if rows == IMAGENET_CLASSES:
        otherwise = f"if the last row is the null class, say num_classes {rows - 1} in {beside}"
        why = f"assumed, because ImageNet has {rows} classes; {otherwise}"
        return replace(_without_null(rows, why), is_assumed=True)
    return ClassTable(rows - 1, is_assumed=True)


def objective(args: Args, sidecar: Sidecar, names: Iterable[str], path: Path) -> tuple[str, bool]:
    """Return what the network predicts, as Schedule.prediction_type spells it, and whether that is assumed.

    Args:
        names: of its tensors.

    Raises:
        CheckpointError: it is a model of flow matching, or its trainer's arguments name what is not known here.
    """
    if sidecar.objective is not None:
        return sidecar.objective, False
    override = f'if it is a plain DiT, write {{"objective": "epsilon"}} into {sidecar_path(path).name}'
    if told := _told_flow(args, names, path):
        raise CheckpointError(
            f"{path}: a flow-matching model such as SiT or REPA ({told}), trained on another path than a DiT and not "
            f"sampled here: {override}"
        )
    if said(args, "predict_xstart") is True:
        return "sample", False
    value = said(args, "prediction_type", "prediction", "parameterization")
    if value is None:
        return "epsilon", not _is_dit(args)
    if str(value).lower() not in _PREDICTIONS:
        raise CheckpointError(f"{path}: its trainer's arguments have an unknown prediction {_cut(value)}: {override}")
    return _PREDICTIONS[str(value).lower()], False


def latent_size(args: Args, sidecar: Sidecar) -> int | None:
    """Return the side of the latent that the sidecar or the trainer's arguments tell, None if neither does."""
    if sidecar.input_size is not None:
        return sidecar.input_size
    if (size := said_count(args, "latent_size", "input_size")) is not None:
        return size
    pixels = said_count(args, "image_size", "resolution")
    return pixels // _DOWNSAMPLING if pixels is not None and pixels % _DOWNSAMPLING == 0 else None


def _without_null(rows: int, why: str) -> ClassTable:
    note = _no_guidance(f"its label table has no null class ({why})")
    return ClassTable(rows, has_null_class=False, can_guide=False, note=note)


def _no_guidance(why: str) -> str:
    return f"without guidance, cfg is 1: {why}"


def _told_flow(args: Args, names: Iterable[str], path: Path) -> str:
    """What tells that it is a model of flow matching, "" if nothing does."""
    path_type, prediction, model = said(args, "path_type"), said(args, "prediction", "prediction_type"), _model(args)
    if path_type is not None:
        return f"its trainer's arguments have path_type {_cut(path_type)}"
    if str(prediction).lower() in (*FLOW_OBJECTIVES, "v"):
        return f"its trainer's arguments have prediction {_cut(prediction)}"
    if _FLOW_NAME.search(model):
        return f"its trainer's arguments have model {_cut(model)}"
    if projectors := [name for name in names if name.startswith(TRAINING_ONLY)]:
        return f"it has REPA's {few(sorted(projectors), 1)}"
    if _is_dit(args):
        return ""
    folder = path.absolute().parent
    places = (path.name, folder.name, folder.parent.name if folder.name == "checkpoints" else "")
    return next((f"by the name {_cut(place)}" for place in places if _FLOW_NAME.search(place)), "")


def _model(args: Args) -> str:
    return str(said(args, "model", "model_name", "model_type") or "")


def _is_dit(args: Args) -> bool:
    """Whether the trainer's arguments name a plain DiT."""
    return _model(args).startswith("DiT")


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
