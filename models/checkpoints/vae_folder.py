"""A folder's autoencoder, config.json and weights, as diffusers' AutoencoderKL: built from checked files alone.

Every name, size and shape is checked before it is believed, and nothing that the folder brings is ever run. Knows no
latents, no scaling and no hub.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from dit_serve.models.checkpoints.convert import ensure_safetensors
from dit_serve.models.checkpoints.diffusers_folder import find_weights
from dit_serve.models.checkpoints.files import read_json
from dit_serve.models.checkpoints.tensor_files import read_headers, read_tensor
from dit_serve.models.errors import CheckpointError

_NOTES = ("_class_name", "_diffusers_version", "_name_or_path")  # of a config; no arguments
_SHIFTS = ("shift_factor", "latents_mean", "latents_std")  # of later models; a DiT's latents are scaled and no more
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
# What is believed of a config before a network is built from it: a wrong size there costs hours, not an error.
_MOST_BLOCKS = 8
_MOST_CHANNELS = 8192


def _is_size(most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and 1 <= value <= most


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _is_list(is_entry: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and 1 <= len(value) <= _MOST_BLOCKS and all(map(is_entry, value))


_ALLOWED: Mapping[str, Callable[[object], bool]] = {
    "in_channels": lambda value: value == 3,
    "out_channels": lambda value: value == 3,
    "latent_channels": _is_size(1024),
    "layers_per_block": _is_size(16),
    "norm_num_groups": _is_size(1024),
    "block_out_channels": _is_list(_is_size(_MOST_CHANNELS)),
    "down_block_types": _is_list(lambda value: value in ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")),
    "up_block_types": _is_list(lambda value: value in ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")),
    "act_fn": lambda value: value in ("silu", "swish", "mish", "gelu", "relu"),
    "mid_block_add_attention": _is_bool,
    "use_quant_conv": _is_bool,
    "use_post_quant_conv": _is_bool,
}


def read_autoencoder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> AutoencoderKL:
    """Return the autoencoder of a folder with config.json and weights, safetensors or .bin, whole or in shards.

    Raises:
        CheckpointError: a file is missing or broken, the config is not an AutoencoderKL's or has keys unknown to it, or
            tensors are missing, unexpected, misshapen or not finite (all of them are named).
    """
    module = _build(folder)
    sources = find_weights(folder)
    headers = read_headers(ensure_safetensors(path, part="whole") for path in sources)
    tensors = _flattened({_current_name(name): read_tensor(stored) for name, stored in headers.items()})
    _check_tensors(sources[0] if len(sources) == 1 else folder, tensors, module.state_dict())
    # copied out of the mapped file: the arithmetic's last bit may depend on how memory is aligned
    module.load_state_dict({name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}, assign=True)
    return module


def _read_config(folder: Path) -> dict[str, Any]:
    """The arguments of AutoencoderKL that the folder's config.json gives, each checked by name."""
    path = folder / "config.json"
    config = read_json(path)
    if config.get("_class_name") != "AutoencoderKL":
        raise CheckpointError(
            f"{path}: _class_name must be AutoencoderKL, got {config.get('_class_name')!r}; choose another autoencoder"
        )
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    known = inspect.signature(AutoencoderKL.__init__).parameters
    unknown = sorted(set(arguments) - set(known)) + sorted(
        key for key in config if key.startswith("_") and key not in _NOTES
    )
    if unknown:
        raise CheckpointError(f"{path}: unknown settings {', '.join(unknown)}; this autoencoder cannot be honoured")
    shifts = [f"{key}={arguments[key]!r}" for key in _SHIFTS if arguments.get(key) is not None]
    if shifts:
        raise CheckpointError(f"{path}: {', '.join(shifts)} cannot be honoured: a DiT's latents are only scaled")
    factor = arguments.get("scaling_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0.0 < factor < float("inf"):
        raise CheckpointError(f"{path}: scaling_factor must be a positive number, got {factor!r}")
    unbelievable = sorted(key for key, value in arguments.items() if key in _ALLOWED and not _ALLOWED[key](value))
    if unbelievable:
        told = ", ".join(f"{key}={str(arguments[key])[:80]}" for key in unbelievable)
        raise CheckpointError(f"{path}: settings that no AutoencoderKL has: {told}; download the file again")
    return arguments


def _build(folder: Path) -> AutoencoderKL:
    """The module of the folder's config, without memory for its tensors."""
    config = _read_config(folder)
    try:
        with torch.device("meta"):
            return AutoencoderKL(**config)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: no autoencoder can be built from it: {error}") from error


def _current_name(name: str) -> str:
    """The name of a tensor today, given one of before diffusers 0.17 where attention had names of its own."""
    for old, new in _OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def _flattened(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Attention projections stored as 1x1 convolutions (D, D, 1, 1), as the original LDM files have them, as (D, D)."""
    is_conv = {name: t.ndim == 4 and ".attentions." in name and t.shape[2:] == (1, 1) for name, t in tensors.items()}
    return {name: t.flatten(1) if is_conv[name] else t for name, t in tensors.items()}


def _check_tensors(where: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Names every tensor that is missing, unexpected, misshapen or not finite, in one error."""
    wrong = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if found[name].shape != expected[name].shape:
            wrong.append(f"{name} has shape {tuple(found[name].shape)}, not {tuple(expected[name].shape)}")
        elif not found[name].isfinite().all():
            wrong.append(f"{name} holds NaN or infinity")
    if wrong:
        raise CheckpointError(f"{where}: {'; '.join(wrong)}: not the weights of this config, download both again")
