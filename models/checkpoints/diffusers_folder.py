"""What a folder of diffusers' layout says about a DiT: its config files, read by name and refused by name.

    model_index.json   transformer/{config.json, weights}   scheduler/scheduler_config.json   vae/

Nothing that a folder brings is ever run: components are those listed here, whatever a file asks for, and a folder
with Python code in it is refused, because its author expects that code to run. Knows no tensors.

References: diffusers' DiTPipeline, DiTTransformer2DModel and, for folders of before 0.28, Transformer2DModel.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dit_serve.models.checkpoints.files import read_json
from dit_serve.models.checkpoints.tensor_files import shard_paths
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.labels import Names, names_of
from dit_serve.models.sampling.schedule import Schedule

WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS = ("DiTTransformer2DModel", "Transformer2DModel")
_NOTES = ("_class_name", "_diffusers_version", "_name_or_path", "_use_default_values")  # by diffusers, without effect
# Of each size what DiTTransformer2DModel assumes where a config is silent, and the largest value that is believed.
_SIZES = {
    "num_attention_heads": (16, 1024),
    "attention_head_dim": (72, 4096),
    "in_channels": (4, 1024),
    "out_channels": (0, 2048),
    "num_layers": (28, 1000),
    "sample_size": (32, 512),
    "patch_size": (2, 64),
    "num_embeds_ada_norm": (1000, 1_000_000),
}
_MAX_TRAIN_STEPS = 100_000  # a table of them is made at once; nobody trains with more than 4000
_FIXED: Mapping[str, tuple[object, ...]] = {  # the only values for which the network is a DiT with adaLN-Zero
    "norm_type": ("ada_norm_zero",),
    "activation_fn": ("gelu-approximate",),
    "attention_bias": (True,),
    "norm_elementwise_affine": (False,),
    "upcast_attention": (False,),
    "cross_attention_dim": (None,),
    "num_vector_embeds": (None,),
    "only_cross_attention": (False,),
    "double_self_attention": (False,),
    "attention_type": ("default",),
    "caption_channels": (None,),
    "interpolation_scale": (None, 1, 1.0),
    "use_additional_conditions": (None, False),
}
_WITHOUT_EFFECT = ("dropout", "norm_num_groups", "use_linear_projection")  # in training, or without patches


def find_weights(folder: Path) -> tuple[Path, ...]:
    """Return the weights files of a component's folder: safetensors before .bin, one file or the shards of an index.

    Raises:
        CheckpointError: there are none, or the index cannot be followed.
    """
    for ending in ("safetensors", "bin"):
        single, index = folder / f"{WEIGHTS}.{ending}", folder / f"{WEIGHTS}.{ending}.index.json"
        if single.exists():
            return (single,)
        if index.exists():
            return shard_paths(index)
    raise CheckpointError(
        f"{folder}: holds no weights, neither {WEIGHTS}.safetensors nor {WEIGHTS}.bin, whole or in shards: "
        "download them"
    )


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
            f"{folder}: brings code, and a checkpoint's code is never run: {', '.join(found)}: "
            "remove the files if the model is a plain DiT"
        )


def read_index(folder: Path) -> dict[str, Any]:
    """Return the folder's model_index.json, every entry of which is known and allowed.

    Raises:
        CheckpointError: an entry is missing, unknown, or asks for another class.
    """
    path = folder / "model_index.json"
    index = read_json(path)
    _refuse_custom(path, index)
    if index.get("_class_name") != "DiTPipeline":
        raise CheckpointError(
            f"{path}: _class_name must be DiTPipeline, got {index.get('_class_name')!r}: choose a DiT"
        )
    unknown = sorted(set(index) - {"transformer", "scheduler", "vae", "id2label", *_NOTES})
    if unknown:
        raise CheckpointError(
            f"{path}: entries that are not a DiT's: {', '.join(unknown)}: choose a plain DiT checkpoint"
        )
    _check_component(path, "transformer", index.get("transformer"), TRANSFORMERS)
    _check_component(path, "scheduler", index.get("scheduler"), None)
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


def read_schedule(folder: Path, class_name: str) -> Schedule:
    """Return the schedule in the folder's scheduler_config.json.

    Args:
        class_name: what model_index.json calls the scheduler; both must agree.

    Raises:
        CheckpointError: a setting cannot be honoured (all are named).
    """
    path = folder / "scheduler_config.json"
    config = read_json(path)
    _refuse_custom(path, config)
    if config.get("_class_name") != class_name:
        raise CheckpointError(
            f"{path}: _class_name is {config.get('_class_name')!r}, model_index.json says {class_name!r}: "
            "correct one of them"
        )
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= _MAX_TRAIN_STEPS:
        raise CheckpointError(f"{path}: num_train_timesteps must be 1 to {_MAX_TRAIN_STEPS}, got {steps!r}: correct it")
    try:
        return Schedule.from_diffusers(config)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{path}: {error}: choose a checkpoint with another scheduler, or edit the file"
        ) from error


def read_transformer_config(path: Path) -> DiTConfig:
    """Return the architecture in a transformer's config.json; whether blocks share embedders is not written there.

    Raises:
        CheckpointError: a setting is unknown or cannot be honoured (all are named), or the sizes contradict each other.
    """
    config = read_json(path)
    _refuse_custom(path, config)
    if config.get("_class_name") not in TRANSFORMERS:
        raise CheckpointError(
            f"{path}: _class_name must be {' or '.join(TRANSFORMERS)}, got {config.get('_class_name')!r}"
        )
    _refuse_settings(path, config)
    size = {name: default if config.get(name) is None else int(config[name]) for name, (default, _) in _SIZES.items()}
    channels, outputs = size["in_channels"], size["out_channels"] or size["in_channels"]
    if outputs not in (channels, 2 * channels):
        raise CheckpointError(
            f"{path}: out_channels {outputs} is neither in_channels {channels} nor twice that: "
            "the outputs have no known meaning"
        )
    try:
        return DiTConfig(
            input_size=size["sample_size"],
            patch_size=size["patch_size"],
            in_channels=channels,
            hidden_size=size["num_attention_heads"] * size["attention_head_dim"],
            depth=size["num_layers"],
            num_heads=size["num_attention_heads"],
            num_classes=size["num_embeds_ada_norm"],
            learn_sigma=outputs == 2 * channels,
            frequency_shift=1.0,
            mlp_norm_eps=float(config.get("norm_eps", 1e-5)),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}: correct the file, or download it again") from error


def _refuse_settings(path: Path, config: Mapping[str, Any]) -> None:
    known = {*_SIZES, *_FIXED, *_WITHOUT_EFFECT, *_NOTES, "norm_eps"}
    refused = [key for key in sorted(config) if key not in known]
    refused += [f"{key}={config[key]!r}" for key in _FIXED if key in config and config[key] not in _FIXED[key]]
    refused += [f"{key}={config[key]!r}" for key, (_, most) in _SIZES.items() if not _is_size(config.get(key), most)]
    epsilon = config.get("norm_eps", 1e-5)
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        refused.append(f"norm_eps={epsilon!r}")
    if refused:
        raise CheckpointError(
            f"{path}: settings that cannot be honoured: {', '.join(refused)}: choose a plain DiT checkpoint"
        )


def _is_size(value: object, most: int) -> bool:
    return value is None or (type(value) is int and 1 <= value <= most)


def _refuse_custom(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse the entries by which files ask a loader to import code."""
    asked = sorted({"custom_pipeline", "auto_map", "trust_remote_code"} & config.keys())
    if asked:
        raise CheckpointError(
            f"{path}: {', '.join(asked)} asks to run code, and a checkpoint's code is never run: "
            "choose a plain DiT checkpoint"
        )


def _check_component(path: Path, name: str, entry: object, classes: tuple[str, ...] | None) -> None:
    """Refuse a component that is not written ["diffusers", one of the classes]; any class where classes is None."""
    is_pair = isinstance(entry, list) and len(entry) == 2 and entry[0] == "diffusers" and isinstance(entry[1], str)
    if not is_pair or (classes is not None and isinstance(entry, list) and entry[1] not in classes):
        allowed = " or ".join(classes) if classes else "a scheduler"
        raise CheckpointError(
            f"{path}: {name} must be {allowed} of diffusers, got {entry!r}: "
            "other components would be code that is never run"
        )
