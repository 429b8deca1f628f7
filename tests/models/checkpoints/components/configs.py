"""Config files of diffusers' layout as Python values, and how a test writes them."""

from __future__ import annotations

import json
from pathlib import Path

INDEX = {
    "_class_name": "DiTPipeline",
    "_diffusers_version": "0.42.1",
    "transformer": ["diffusers", "DiTTransformer2DModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "vae": ["diffusers", "AutoencoderKL"],
}
TRANSFORMER = {"_class_name": "DiTTransformer2DModel", "out_channels": 8}
# facebook/DiT-XL-2-512's transformer/config.json, as it is known from diffusers' documentation of its fields
PUBLISHED = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.12.0.dev0",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "cross_attention_dim": None,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "norm_num_groups": 32,
    "norm_type": "ada_norm_zero",
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 64,
    "upcast_attention": False,
    "use_linear_projection": False,
}


def write(path: Path, value: object) -> Path:
    """Write a value as JSON, and return the path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path
