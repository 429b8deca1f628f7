"""An autoencoder's folder or file as diffusers' AutoencoderKL: built from checked configs and tensors alone.

Every name, size and shape is checked before it is believed, and nothing that the folder brings is ever run. Knows no
latents, no scaling and no hub.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from dit_serve.models.checkpoints.components.component_weights import find_weights
from dit_serve.models.checkpoints.components.ldm_vae import (
    SCALING_FACTORS,
    Found,
    autoencoder_tensors,
    has_original_names,
    inferred_config,
    with_current_names,
)
from dit_serve.models.checkpoints.components.transformer_config import NO_PART
from dit_serve.models.checkpoints.convert import Conversions
from dit_serve.models.checkpoints.files import read_config, read_json
from dit_serve.models.checkpoints.tensor_files import read_headers, read_tensor
from dit_serve.models.errors import CheckpointError, listed

_SHIFTS = ("shift_factor", "latents_mean", "latents_std")  # of later models; a DiT's latents are scaled and no more
# What is believed of a config before a network is built from it: a wrong size there costs hours, not an error.
_MOST_BLOCKS = 8
_MOST_CHANNELS = 8192
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MOST_PIXELS = 100_000


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
    "sample_size": lambda value: _is_size(_MOST_PIXELS)(value) or _is_list(_is_size(_MOST_PIXELS))(value),
    "force_upcast": _is_bool,
    "use_quant_conv": _is_bool,
    "use_post_quant_conv": _is_bool,
}


def read_autoencoder(place: Path, *, device: torch.device, dtype: torch.dtype) -> AutoencoderKL:
    """Return the autoencoder of a folder with config.json and weights, or of one file.

    A file has the names of the original code (ldm_vae.py), which tell its sizes, or diffusers' with config.json beside.

    Raises:
        CheckpointError: a file is missing or broken, the config is not an AutoencoderKL's or has keys unknown to it, or
            tensors are missing, unexpected, misshapen or not finite (all of them are named).
    """
    with Conversions() as conversions:
        read = _of_folder if place.is_dir() else _of_file
        module, where, headers = read(place, conversions)
        named = with_current_names(headers, where)
        tensors = _flattened({name: read_tensor(stored) for name, stored in named.items()})
        _check_tensors(where, tensors, module.state_dict())
    # copied out of the mapped file: the arithmetic's last bit may depend on how memory is aligned
    module.load_state_dict({name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}, assign=True)
    return module


def _of_folder(folder: Path, conversions: Conversions) -> tuple[AutoencoderKL, Path, Found]:
    """An empty module, what to call the weights in a message, and the weights by name."""
    module = _build(_read_config(folder / "config.json"), folder / "config.json")
    sources = find_weights(folder)
    where = sources[0] if len(sources) == 1 else folder
    found: Found = read_headers(conversions.ensure(path, part="whole") for path in sources)
    return module, where, autoencoder_tensors(found, where) if has_original_names(found) else found


def _of_file(path: Path, conversions: Conversions) -> tuple[AutoencoderKL, Path, Found]:
    """As _of_folder; a config beside a file with original names says what its shapes do not."""
    found = autoencoder_tensors(read_headers([conversions.ensure(path, part="vae")]), path)
    beside = path.parent / "config.json"
    if not has_original_names(found):
        if not beside.exists():
            raise CheckpointError(
                f"{path}: holds an autoencoder in diffusers' names, whose sizes stand in config.json: "
                "put that file beside it, or give the whole folder"
            )
        return _build(_read_config(beside), beside), path, found
    given = {}
    if beside.exists() and read_json(beside).get("_class_name") == "AutoencoderKL":
        given = _read_config(beside)
    arguments = {**inferred_config(found, path), **given}
    channels = arguments["latent_channels"]
    if "scaling_factor" not in arguments:
        if channels not in SCALING_FACTORS:
            raise CheckpointError(
                f"{path}: nothing says the scaling factor of its {channels} latent channels: write "
                '{"_class_name": "AutoencoderKL", "scaling_factor": N} into config.json beside it'
            )
        arguments["scaling_factor"] = SCALING_FACTORS[channels]
        log = logging.getLogger("dit.models")
        log.info("%s: nothing says its scaling factor, which is taken to be %g", path, SCALING_FACTORS[channels])
    _check_arguments(path, arguments)
    return _build(arguments, path), path, found


def _read_config(path: Path) -> dict[str, Any]:
    """The arguments of AutoencoderKL that a config.json gives, each checked by name."""
    config = read_config(path)
    if config.get("_class_name") != "AutoencoderKL":
        raise CheckpointError(
            f"{path}: _class_name must be AutoencoderKL, got {str(config.get('_class_name'))[:80]!r}; "
            "choose another autoencoder"
        )
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    if ignored := sorted(arguments.keys() & set(NO_PART)):
        logging.getLogger("dit.models").info("%s: ignored, no part of the network: %s", path, ", ".join(ignored))
    arguments = {key: value for key, value in arguments.items() if key not in NO_PART}
    _check_arguments(path, arguments)
    return arguments


def _check_arguments(path: Path, arguments: dict[str, Any]) -> None:
    unknown = sorted(set(arguments) - set(inspect.signature(AutoencoderKL.__init__).parameters))
    if unknown:
        raise CheckpointError(f"{path}: unknown settings {listed(unknown)}; this autoencoder cannot be honoured")
    shifts = [f"{key}={str(arguments[key])[:40]}" for key in _SHIFTS if arguments.get(key) is not None]
    if shifts:
        raise CheckpointError(f"{path}: {listed(shifts)} cannot be honoured: a DiT's latents are only scaled")
    factor = arguments.get("scaling_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1e-6 < factor < 1e6:
        raise CheckpointError(f"{path}: scaling_factor must be a positive number, got {repr(factor)[:40]}: correct it")
    unbelievable = sorted(key for key, value in arguments.items() if key in _ALLOWED and not _ALLOWED[key](value))
    if unbelievable:
        told = listed(f"{key}={str(arguments[key])[:40]}" for key in unbelievable)
        raise CheckpointError(f"{path}: settings that no AutoencoderKL has: {told}; download the file again")


def _build(arguments: dict[str, Any], where: Path) -> AutoencoderKL:
    """The module of checked arguments, without memory for its tensors."""
    try:
        with torch.device("meta"):
            return AutoencoderKL(**arguments)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise CheckpointError(f"{where}: no autoencoder can be built from it: {str(error)[:120]}") from error


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
            wrong.append(f"{name} is {tuple(found[name].shape)}, not {tuple(expected[name].shape)}")
        elif found[name].dtype not in _FLOATS:
            wrong.append(f"{name} is {str(found[name].dtype).removeprefix('torch.')}, not of a usual float type")
        elif not found[name].isfinite().all():
            wrong.append(f"{name} holds NaN or infinity")
    if wrong:
        raise CheckpointError(f"{where}: {listed(wrong, 156)}: not the weights of this config, download both again")
