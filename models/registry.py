"""The twelve published model sizes, their cost, and the demo models by name.

Sizes: table 1 of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748). Knows no weights.
"""

from __future__ import annotations

from pathlib import Path

from dit_serve.models.dit import DiTConfig
from dit_serve.models.tokens import FREQUENCIES

# name: (blocks, width, heads)
SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}
PATCHES = (2, 4, 8)
DEMOS = ("digits-64", "digits-128", "fashion-64")


def variant_name(config: DiTConfig) -> str | None:
    """Return the published name of an architecture, whatever its resolution and classes; None if it has none."""
    shape = (config.depth, config.hidden_size, config.num_heads)
    size = next((size for size, published in SIZES.items() if published == shape), None)
    return f"DiT-{size}/{config.patch_size}" if size and config.patch_size in PATCHES else None


def parameter_count(config: DiTConfig) -> int:
    """Return the number of weights, fixed position embeddings included (as the published counts have them)."""
    width, mlp, depth = config.hidden_size, config.mlp_size, config.depth
    square, norm = width * width + width, 2 * width
    block = 4 * square + (2 * width * mlp + mlp + width)  # qkv and projection, MLP
    if config.conditioning == "cross-attention":
        block += 2 * square + norm  # queries and projection; keys and values are made for all blocks at once
    norms = 0 if config.has_adaptive_norms else (2 * depth + 1) * norm
    embedders = depth if config.per_block_embedders else 1
    timestep = 2 * FREQUENCIES * width + width + square
    label = config.label_rows * width
    modulation = config.modulation_outputs * (width + 1)
    patch = config.patch_size**2
    ends = (config.in_channels * patch + 1) * width + (width + 1) * config.out_channels * patch
    return depth * block + norms + embedders * (timestep + label) + modulation + ends + config.tokens * width


def multiply_adds(config: DiTConfig) -> int:
    """Return the multiply-adds of one sequence's forward pass (the paper's "Gflops" are these, in 1e9).

    What conditions the sequence is among them, though a sampler computes it ahead.
    """
    width, mlp, depth, tokens = config.hidden_size, config.mlp_size, config.depth, config.block_tokens
    linear = tokens * (4 * width * width + 2 * width * mlp)  # qkv, projection, MLP
    attention = 2 * tokens * tokens * width
    if config.conditioning == "cross-attention":
        linear += tokens * 2 * width * width  # queries, projection
        attention += 2 * tokens * 2 * width  # to t and y
    conditions = 2 if config.conditioning == "cross-attention" else 1
    modulation = conditions * config.modulation_outputs * width
    embedders = depth if config.per_block_embedders else 1
    timestep = embedders * (2 * FREQUENCIES * width + width * width)
    ends = config.tokens * config.patch_size**2 * width * (config.in_channels + config.out_channels)
    return depth * (linear + attention) + modulation + timestep + ends


def demo_path(name: str) -> Path | None:
    """Return the folder of a demo model, or None where `name` is not one."""
    return Path(__file__).parent / "demo" / name if name in DEMOS else None
