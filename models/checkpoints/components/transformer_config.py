"""The architecture in a transformer's config.json of diffusers' layout; what cannot be honoured is refused by name.

A transformer of ours with other blocks than adaLN-Zero has a class of its own, which diffusers does not know, and an
entry `conditioning`.

What diffusers or its trainers leave in the file and no network is built of (the averaging's state, the number format)
is ignored with one line in the log. Knows no tensors but the stored table of positions, which is compared and dropped.

References: diffusers' DiTTransformer2DModel; Transformer2DModel for folders of before 0.28; EMAModel.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dit_serve.models.architecture import Conditioned
from dit_serve.models.checkpoints.files import read_config
from dit_serve.models.checkpoints.tensor_files import StoredTensor, read_tensor
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError, listed
from dit_serve.models.tokens import sincos_positions

TRANSFORMERS = ("DiTTransformer2DModel", "Transformer2DModel")
OWN_TRANSFORMER = "DiTServeTransformer"  # a name for what diffusers has no class for
# What its blocks may be, and what its config calls their norms: diffusers' own classes take none but ada_norm_zero.
OWN_NORMS: Mapping[Conditioned, str] = {
    "in-context": "layer_norm",
    "cross-attention": "layer_norm",
    "adaln": "ada_norm",
}
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
    "quantization_config": (None,),
}
_WITHOUT_EFFECT = ("dropout", "norm_num_groups", "use_linear_projection")  # in training, or without patches
# In the config of any component and no part of a network: the state of an average of weights, now and before diffusers
# 0.15, and a number format.
NO_PART = (
    "decay inv_gamma min_decay optimization_step power update_after_step use_ema_warmup collected_params max_value "
    "min_value device torch_dtype dtype"
).split()
_MOST_TOLD = 140  # characters for the settings in one message
_STORED_POSITIONS = "pos_embed.pos_embed"


def read_transformer_config(path: Path) -> DiTConfig:
    """Return the architecture in a transformer's config.json; whether blocks share embedders is not written there.

    Raises:
        CheckpointError: a setting is unknown or cannot be honoured (all are named), or the sizes contradict each other.
    """
    config = read_config(path)
    class_name = config.get("_class_name")
    if class_name not in (*TRANSFORMERS, OWN_TRANSFORMER):
        raise CheckpointError(
            f"{path}: _class_name must be {' or '.join(TRANSFORMERS)}, got {str(class_name)[:80]!r}: choose a DiT"
        )
    conditioning = _conditioning(path, config) if class_name == OWN_TRANSFORMER else "adaln-zero"
    _refuse_settings(path, config, conditioning)
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
            conditioning=conditioning,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}: correct the file, or download it again") from error


def _conditioning(path: Path, config: Mapping[str, Any]) -> Conditioned:
    """The blocks of a transformer of ours."""
    given = config.get("conditioning")
    for each in OWN_NORMS:
        if each == given:
            return each
    raise CheckpointError(
        f"{path}: conditioning must be {' or '.join(OWN_NORMS)}, got {str(given)[:80]!r}: correct the file"
    )


def _refuse_settings(path: Path, config: Mapping[str, Any], conditioning: Conditioned) -> None:
    fixed = _FIXED
    if conditioning in OWN_NORMS:
        fixed = {"conditioning": (conditioning,), "norm_type": (OWN_NORMS[conditioning],)}
    known = {*_SIZES, *fixed, *_WITHOUT_EFFECT, *NO_PART, "norm_eps"}
    refused = {key for key in config if key not in known and not key.startswith("_")}
    refused |= {key for key in fixed if key in config and config[key] not in fixed[key]}
    refused |= {key for key, (_, most) in _SIZES.items() if not _is_size(config.get(key), most)}
    epsilon = config.get("norm_eps", 1e-5)
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        refused.add("norm_eps")
    if refused:
        told = [f"{key}={str(config[key])[:24]}" for key in sorted(refused)]
        told = told if sum(map(len, told)) < _MOST_TOLD else sorted(refused)
        raise CheckpointError(
            f"{path}: settings that cannot be honoured: {listed(told, _MOST_TOLD)}: choose a plain DiT checkpoint"
        )
    if ignored := sorted(config.keys() & set(NO_PART)):
        logging.getLogger("dit.models").info("%s: ignored, no part of the network: %s", path, ", ".join(ignored))


def _is_size(value: object, most: int) -> bool:
    return value is None or (type(value) is int and 1 <= value <= most)


def without_positions(found: Mapping[str, StoredTensor], config: DiTConfig, where: object) -> dict[str, StoredTensor]:
    """Return stored tensors but for the table of positions that old versions of diffusers stored: it is computed here.

    Raises:
        CheckpointError: the table is another one.
    """
    stored = found.get(_STORED_POSITIONS)
    if stored is not None and math.prod(stored.shape) != config.tokens * config.hidden_size:
        raise _other_positions(config, where)
    if stored is not None:
        table = torch.from_numpy(sincos_positions(config.hidden_size, config.input_size // config.patch_size)).float()
        theirs = read_tensor(stored)
        tolerance = max(1e-5, torch.finfo(theirs.dtype).eps if theirs.is_floating_point() else 0.0)  # rounded as stored
        if not torch.allclose(theirs.float().reshape(table.shape), table, rtol=0, atol=tolerance):
            raise _other_positions(config, where)
    return {name: tensor for name, tensor in found.items() if name != _STORED_POSITIONS}


def _other_positions(config: DiTConfig, where: object) -> CheckpointError:
    return CheckpointError(
        f"{where}: {_STORED_POSITIONS} is not the paper's table of positions for {config.input_size} pixels a "
        "side of the latent: choose a plain DiT checkpoint"
    )
