"""The autoencoder between pixels and latents: diffusers' AutoencoderKL, built from checked files alone.

`load_vae` reads a folder's config.json and .safetensors, checks every name and shape, and runs nothing that the folder
brings. The scaling factor, the number of channels and the down-sampling are the folder's own, never assumed.

Knows no DiT, no sampler and no hub. References: "High-Resolution Image Synthesis with Latent Diffusion Models"
(arXiv 2112.10752), section 4.3.2 and appendix D.1 for the scaling.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file

from dit_serve.models.checkpoints.convert import ensure_safetensors
from dit_serve.models.checkpoints.files import read_json
from dit_serve.models.errors import CheckpointError

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
NOTES = ("_class_name", "_diffusers_version", "_name_or_path")  # of a config; no arguments
SHIFTS = ("shift_factor", "latents_mean", "latents_std")  # of later models; a DiT's latents are scaled and no more
OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
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


class VAE:
    """One autoencoder with its own scaling factor."""

    def __init__(self, module: AutoencoderKL) -> None:
        self.module = module.eval().requires_grad_(False)
        self.latent_channels: int = module.config["latent_channels"]
        self.downsampling: int = 2 ** (len(module.config["block_out_channels"]) - 1)
        self.scaling_factor: float = module.config["scaling_factor"]
        self._widened: VAE | None = None

    @property
    def _weight(self) -> torch.nn.Parameter:
        """The first weight, for device and format: the module's own `dtype` looks at all, for a tenth of a decoding."""
        weight: torch.nn.Parameter = next(self.module.parameters())
        return weight

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """The latents' mean, scaled: (N, 3, H, W) float in [-1, 1] -> (N, C, h, w) in the weights' dtype."""
        images = images.to(self._weight.device, self._weight.dtype)
        mean: torch.Tensor = self.module.encode(images).latent_dist.mean
        return mean * self.scaling_factor

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels on the CPU: latents (N, C, h, w), any float dtype -> (N, H, W, 3) uint8, rounded as diffusers does."""
        return self.render(latents.to(self._weight.device))[0].cpu()

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels as `decode` has them and whether each image was finite, (N,) bool, both where the latents are."""
        latents = (latents.float() / self.scaling_factor).to(self._weight.dtype)
        images = self.module.decode(latents).sample.float()
        is_finite = images.isfinite().flatten(1).all(1)  # before the clamp makes white of an infinity
        pixels = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        return (pixels * 255).round().to(torch.uint8), is_finite

    def widened(self) -> VAE:
        """The same autoencoder in float32, for an image that overflows in fewer bits; made when first asked for."""
        if self._widened is None:
            self._widened = VAE(copy.deepcopy(self.module).float())
        return self._widened


def load_vae(folder: Path, *, device: torch.device, dtype: torch.dtype) -> VAE:
    """The autoencoder of a folder with config.json and diffusion_pytorch_model.safetensors (or .bin).

    Raises:
        CheckpointError: a file is missing or broken, the config is not an AutoencoderKL's or has keys unknown to it, or
            tensors are missing, unexpected, misshapen or not finite (all of them are named).
    """
    module = _build(folder)
    path = _weights_file(folder)
    tensors = _flattened(_read_tensors(path))
    _check_tensors(path, tensors, module.state_dict())
    # copied out of the mapped file: the arithmetic's last bit may depend on how memory is aligned
    tensors = {name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(tensors, assign=True)
    if device.type == "cuda":  # the layout of tensor cores; on a processor it gains nothing and costs the last bit
        module.to(memory_format=torch.channels_last)
    return VAE(module)


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The number format of the autoencoder beside a transformer of `dtype`.

    bfloat16 on a card; float16 is too narrow for Stable Diffusion's decoder, and on a processor bfloat16 would save one
    or two hundredths of an image's time for an error of some grey levels: float32 there.
    """
    return dtype if dtype == torch.bfloat16 and device.type == "cuda" else torch.float32


def read_vae_config(folder: Path) -> dict[str, Any]:
    """The arguments of AutoencoderKL that the folder's config.json gives, each checked by name.

    Raises:
        CheckpointError: the file is missing, is no JSON object, or describes something else than an AutoencoderKL.
    """
    path = folder / "config.json"
    config = read_json(path)
    if config.get("_class_name") != "AutoencoderKL":
        raise CheckpointError(
            f"{path}: _class_name must be AutoencoderKL, got {config.get('_class_name')!r}; choose another autoencoder"
        )
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    known = inspect.signature(AutoencoderKL.__init__).parameters
    unknown = sorted(set(arguments) - set(known)) + sorted(
        key for key in config if key.startswith("_") and key not in NOTES
    )
    if unknown:
        raise CheckpointError(f"{path}: unknown settings {', '.join(unknown)}; this autoencoder cannot be honoured")
    shifts = [f"{key}={arguments[key]!r}" for key in SHIFTS if arguments.get(key) is not None]
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
    config = read_vae_config(folder)
    try:
        with torch.device("meta"):
            return AutoencoderKL(**config)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: no autoencoder can be built from it: {error}") from error


def _weights_file(folder: Path) -> Path:
    """The folder's safetensors file; a .bin is converted, once, into the cache."""
    for name in WEIGHTS:
        if (folder / name).exists():
            return ensure_safetensors(folder / name)
    raise CheckpointError(f"{folder}: holds none of {', '.join(WEIGHTS)}; download the autoencoder again")


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return {_current_name(name): tensor for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); download it again") from error


def _current_name(name: str) -> str:
    """The name of a tensor today, given one of before diffusers 0.17 where attention had names of its own."""
    for old, new in OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def _flattened(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Attention projections stored as 1x1 convolutions (D, D, 1, 1), as the original LDM files have them, as (D, D)."""
    is_conv = {name: t.ndim == 4 and ".attentions." in name and t.shape[2:] == (1, 1) for name, t in tensors.items()}
    return {name: t.flatten(1) if is_conv[name] else t for name, t in tensors.items()}


def _check_tensors(path: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Names every tensor that is missing, unexpected, misshapen or not finite, in one error."""
    wrong = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if found[name].shape != expected[name].shape:
            wrong.append(f"{name} has shape {tuple(found[name].shape)}, not {tuple(expected[name].shape)}")
        elif not found[name].isfinite().all():
            wrong.append(f"{name} holds NaN or infinity")
    if wrong:
        raise CheckpointError(f"{path}: {'; '.join(wrong)}: not the weights of this config, download both again")
