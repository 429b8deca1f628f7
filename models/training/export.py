"""Writes a trained model as a folder of diffusers' layout, read by DiTPipeline.from_pretrained and this project alike.

    model_index.json   transformer/   scheduler/   vae/

diffusers gives every block a timestep and a label embedder of its own; a model that has one embedder is written with
that one repeated. Knows the names of diffusers' DiTTransformer2DModel; training, reading and sampling are elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file

from dit_serve.models.dit import DiTConfig
from dit_serve.models.sampling.schedule import Schedule


def export_pipeline(
    folder: Path,
    config: DiTConfig,
    state: Mapping[str, torch.Tensor],
    schedule: Schedule,
    names: Sequence[str],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes model_index.json, transformer/ and scheduler/; the folder's vae/ is somebody else's.

    Args:
        state: the model's state dict, names and shapes as in models/dit.py.
        names: of the classes, by class id.
        dtype: in which the weights are stored.

    Raises:
        ValueError: diffusers cannot express the architecture.
    """
    _write_json(folder / "model_index.json", _model_index(names))
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_config(schedule))
    _write_json(folder / "transformer" / "config.json", _transformer_config(config))
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in to_diffusers(config, state).items()}
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    partial = weights.with_suffix(".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, weights)  # whoever reads the folder meanwhile sees the old file or the new one, whole


def to_diffusers(config: DiTConfig, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A DiT's state dict under the names and in the shapes of diffusers' DiTTransformer2DModel."""
    width, patch = config.hidden_size, config.patch_size
    modulation = dict(zip(("weight", "bias"), (state["modulation.weight"], state["modulation.bias"]), strict=True))
    tensors = {
        "pos_embed.proj.weight": state["patch_embed.weight"].view(width, config.in_channels, patch, patch),
        "pos_embed.proj.bias": state["patch_embed.bias"],
        "proj_out_2.weight": state["final.weight"],
        "proj_out_2.bias": state["final.bias"],
    }
    for kind, rows in modulation.items():
        tensors[f"proj_out_1.{kind}"] = rows[6 * config.depth * width :]
        for i in range(config.depth):
            tensors[f"transformer_blocks.{i}.norm1.linear.{kind}"] = rows[6 * i * width : 6 * (i + 1) * width]
    for i in range(config.depth):
        tensors |= _block(i, state) | _embedder(i if config.per_block_embedders else 0, i, state)
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _block(i: int, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Attention and MLP of block i."""
    ours, theirs = f"blocks.{i}", f"transformer_blocks.{i}"
    tensors: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):
        parts = zip("qkv", state[f"{ours}.qkv.{kind}"].chunk(3), strict=True)
        tensors |= {f"{theirs}.attn1.to_{part}.{kind}": rows for part, rows in parts}
        tensors[f"{theirs}.attn1.to_out.0.{kind}"] = state[f"{ours}.proj.{kind}"]
        tensors[f"{theirs}.ff.net.0.proj.{kind}"] = state[f"{ours}.fc1.{kind}"]
        tensors[f"{theirs}.ff.net.2.{kind}"] = state[f"{ours}.fc2.{kind}"]
    return tensors


def _embedder(e: int, i: int, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Embedder e, as that of block i."""
    theirs = f"transformer_blocks.{i}.norm1.emb"
    return {
        f"{theirs}.timestep_embedder.linear_1.weight": state["embedder.t_in_weight"][e],
        f"{theirs}.timestep_embedder.linear_1.bias": state["embedder.t_in_bias"][e],
        f"{theirs}.timestep_embedder.linear_2.weight": state["embedder.t_out_weight"][e],
        f"{theirs}.timestep_embedder.linear_2.bias": state["embedder.t_out_bias"][e],
        f"{theirs}.class_embedder.embedding_table.weight": state["embedder.label_table"][e],
    }


def _model_index(names: Sequence[str]) -> dict[str, Any]:
    return {
        "_class_name": "DiTPipeline",
        "_diffusers_version": diffusers.__version__,
        "id2label": {str(i): name for i, name in enumerate(names)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def _scheduler_config(schedule: Schedule) -> dict[str, Any]:
    return {"_class_name": "DDIMScheduler", "_diffusers_version": diffusers.__version__, **asdict(schedule)}


def _transformer_config(config: DiTConfig) -> dict[str, Any]:
    if config.frequency_shift != 1.0 or config.mlp_ratio != 4.0:
        raise ValueError(
            "diffusers fixes frequency_shift at 1 and mlp_ratio at 4, "
            f"got {config.frequency_shift:g} and {config.mlp_ratio:g}"
        )
    return {
        "_class_name": "DiTTransformer2DModel",
        "_diffusers_version": diffusers.__version__,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": config.hidden_size // config.num_heads,
        "dropout": 0.0,
        "in_channels": config.in_channels,
        "norm_elementwise_affine": False,
        "norm_eps": config.mlp_norm_eps,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": config.num_heads,
        "num_embeds_ada_norm": config.num_classes,
        "num_layers": config.depth,
        "out_channels": config.out_channels,
        "patch_size": config.patch_size,
        "sample_size": config.input_size,
        "upcast_attention": False,
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
