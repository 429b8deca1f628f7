"""Writes a trained model as a folder of diffusers' layout, read by DiTPipeline.from_pretrained and this project alike.

    model_index.json   transformer/   scheduler/   vae/

A transformer whose blocks diffusers has no class for is named by a class of ours, so that diffusers refuses the folder
in the place of computing something else of it; its tensors have our own names.

Knows diffusers' config files; the names of its tensors are in checkpoints/layouts.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file

from dit_serve.models.checkpoints.components.transformer_config import (
    OWN_NORMS,
    OWN_TRANSFORMER,
    TRANSFORMERS,
)
from dit_serve.models.checkpoints.layouts import Layout, written
from dit_serve.models.dit import DiTConfig
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.training.saving import replacing


def export_pipeline(
    folder: Path,
    config: DiTConfig,
    state: Mapping[str, torch.Tensor],
    schedule: Schedule,
    names: Sequence[str],
    dtype: torch.dtype,
) -> None:
    """Writes model_index.json, transformer/ and scheduler/; vae/ is for the caller to write.

    Args:
        state: the model's state dict, names and shapes as in models/dit.py.
        names: of the classes, by class id.
        dtype: in which the weights are stored.

    Raises:
        ValueError: the files cannot express the architecture.
        CheckpointError: a file cannot be written.
    """
    _write_json(folder / "model_index.json", _model_index(names, config))
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_config(schedule))
    _write_json(folder / "transformer" / "config.json", _transformer_config(config))
    layout: Layout = "diffusers" if _is_expressed(config) else "dit-serve"
    tensors = {name: tensor.to(dtype) for name, tensor in written(layout, config, state).items()}
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    with replacing(weights) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


def _model_index(names: Sequence[str], config: DiTConfig) -> dict[str, Any]:
    transformer = ["diffusers", TRANSFORMERS[0]] if _is_expressed(config) else ["dit_serve", OWN_TRANSFORMER]
    return {
        "_class_name": "DiTPipeline",
        "_diffusers_version": diffusers.__version__,
        "id2label": {str(i): name for i, name in enumerate(names)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": transformer,
        "vae": ["diffusers", "AutoencoderKL"],
    }


def _scheduler_config(schedule: Schedule) -> dict[str, Any]:
    return {"_class_name": "DDIMScheduler", "_diffusers_version": diffusers.__version__, **asdict(schedule)}


def _transformer_config(config: DiTConfig) -> dict[str, Any]:
    if not config.has_null_class:
        raise ValueError("diffusers' label table ends in a null class, and this model has none")
    if config.frequency_shift != 1.0 or config.mlp_ratio != 4.0:
        raise ValueError(
            "diffusers fixes frequency_shift at 1 and mlp_ratio at 4, "
            f"got {config.frequency_shift:g} and {config.mlp_ratio:g}"
        )
    sizes = {
        "attention_head_dim": config.hidden_size // config.num_heads,
        "in_channels": config.in_channels,
        "norm_eps": config.mlp_norm_eps,
        "num_attention_heads": config.num_heads,
        "num_embeds_ada_norm": config.num_classes,
        "num_layers": config.depth,
        "out_channels": config.out_channels,
        "patch_size": config.patch_size,
        "sample_size": config.input_size,
    }
    if not _is_expressed(config):
        blocks = {"conditioning": config.conditioning, "norm_type": OWN_NORMS[config.conditioning]}
        return {"_class_name": OWN_TRANSFORMER, **blocks, **sizes}
    return {
        "_class_name": TRANSFORMERS[0],
        "_diffusers_version": diffusers.__version__,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "dropout": 0.0,
        "norm_elementwise_affine": False,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "upcast_attention": False,
        **sizes,
    }


def _is_expressed(config: DiTConfig) -> bool:
    """Whether diffusers has a class for the blocks."""
    return config.conditioning == "adaln-zero"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
