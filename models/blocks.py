"""The blocks of a DiT: the paper's four ways to take in the condition, one class each.

"Scalable Diffusion Models with Transformers" (arXiv 2212.09748), section 3.2 and figure 3:

    in-context        t and y are two more tokens of the sequence: the block is a vision transformer's own
    cross-attention   after the attention among the tokens, one to a sequence of two, t and y
    adaln             the norms' shift and scale are regressed from t + y
    adaln-zero        and so is a gate on what each branch adds

What conditions a block comes as vectors of its rows, computed elsewhere (`DiT.modulations`). Linear layers are
multiplied by the `Products` that a block is given. Nothing here knows latents, timesteps or classes.

Legend of shapes: N rows, T tokens of the sequence, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dit_serve.kernels.attention import attention
from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate,
    gate_residual_layernorm_modulate_float8,
)
from dit_serve.kernels.layernorm_modulate import layernorm_modulate
from dit_serve.models.architecture import DiTConfig
from dit_serve.models.float8 import Float8Linear, Layer
from dit_serve.models.products import Activations, Products

NORM_EPS = 1e-6  # of the norms before attention and before the final layer, in the paper's code and in diffusers alike


class InContextBlock(nn.Module):
    """The block of ViT (arXiv 2010.11929, eq. 2 and 3), which treats t and y no differently from the other tokens."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width, NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, config.mlp_norm_eps)
        self.fc1 = nn.Linear(width, config.mlp_size)
        self.fc2 = nn.Linear(config.mlp_size, width)

    def forward(self, x: torch.Tensor, products: Products) -> torch.Tensor:
        """Return the block's tokens for tokens x, (N, T, D) each; two of them are t and y."""
        qkv = products(self.qkv, self.attention_norm(x))                                      # (N, T, 3D)
        x = x + products(self.proj, attention(qkv, self.num_heads))                           # (N, T, D)
        return x + products(self.fc2, products.gelu(self.fc1, self.mlp_norm(x)))              # (N, T, D)


class CrossAttentionBlock(nn.Module):
    """ViT's block with a second attention, "Attention Is All You Need" (arXiv 1706.03762): the tokens to t and y."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width, NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.cross_norm = nn.LayerNorm(width, NORM_EPS)
        self.cross_query = nn.Linear(width, width)
        self.cross_proj = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, config.mlp_norm_eps)
        self.fc1 = nn.Linear(width, config.mlp_size)
        self.fc2 = nn.Linear(config.mlp_size, width)

    def forward(self, x: torch.Tensor, keys_values: torch.Tensor, products: Products) -> torch.Tensor:
        """Return the block's tokens for tokens x, (N, T, D) each.

        Args:
            x: (N, T, D) tokens.
            keys_values: (N, 4, D): the key of t, that of y, then their values.
            products: how linear layers are multiplied.
        """
        keys, values = keys_values.chunk(2, dim=1)                                            # (N, 2, D) each
        qkv = products(self.qkv, self.attention_norm(x))                                      # (N, T, 3D)
        x = x + products(self.proj, attention(qkv, self.num_heads))                           # (N, T, D)
        queries = products(self.cross_query, self.cross_norm(x))                              # (N, T, D)
        x = x + products(self.cross_proj, cross_attention(queries, keys, values, self.num_heads))
        return x + products(self.fc2, products.gelu(self.fc1, self.mlp_norm(x)))              # (N, T, D)


class AdaLNBlock(nn.Module):
    """Attention, then MLP, each behind a norm that the condition shifts and scales, added without a gate."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.mlp_norm_eps = config.num_heads, config.mlp_norm_eps
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, config.mlp_size)
        self.fc2 = nn.Linear(config.mlp_size, width)

    def forward(
        self, x: torch.Tensor, modulation: torch.Tensor, products: Products, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the block's tokens for tokens x, (N, T, D) each.

        Args:
            x: (N, T, D) tokens.
            modulation: (N, 4, D): shift and scale of the attention's norm, then of the MLP's.
            products: how linear layers are multiplied.
            rows: (N,) int64, whose modulation of a larger number is each sequence's; None for its own.
        """
        shift_msa, scale_msa, shift_mlp, scale_mlp = modulation.unbind(1)
        qkv = products(self.qkv, layernorm_modulate(x, shift_msa, scale_msa, NORM_EPS, rows))  # (N, T, 3D)
        x = x + products(self.proj, attention(qkv, self.num_heads))                           # (N, T, D)
        normed = layernorm_modulate(x, shift_mlp, scale_mlp, self.mlp_norm_eps, rows)         # (N, T, D)
        return x + products(self.fc2, products.gelu(self.fc1, normed))                        # (N, T, D)


class AdaLNZeroBlock(nn.Module):
    """Attention, then MLP, each behind a modulated norm and added through a gate.

    Adding a branch and norming what follows are one pass over the tokens, so a block takes its first norm's output and
    gives its successor's: the next block's first norm, or the final layer's.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.mlp_norm_eps = config.num_heads, config.mlp_norm_eps
        self.qkv: Layer = nn.Linear(width, 3 * width)
        self.proj: Layer = nn.Linear(width, width)
        self.fc1: Layer = nn.Linear(width, config.mlp_size)
        self.fc2: Layer = nn.Linear(config.mlp_size, width)

    def forward(
        self,
        x: torch.Tensor,
        normed: Activations,
        modulation: torch.Tensor,
        products: Products,
        reader: Layer,
        rows: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Activations]:
        """Return the block's tokens and their norm for the successor, (N, T, D) each.

        Args:
            x: (N, T, D) tokens.
            normed: (N, T, D), their norm with this block's first shift and scale.
            modulation: (N, 6, D): this block's other four vectors, then the successor's first shift and scale.
            products: how linear layers are multiplied.
            reader: the successor's layer that reads the norm: float8 if that is a Float8Linear.
            rows: (N,) int64, whose modulation of a larger number is each sequence's; None for its own.
        """
        gate_msa, shift_mlp, scale_mlp, gate_mlp, next_shift, next_scale = modulation.unbind(1)
        h = products(self.proj, attention(products(self.qkv, normed), self.num_heads))        # (N, T, D)
        x, normed = _add(x, gate_msa, h, shift_mlp, scale_mlp, self.mlp_norm_eps, rows, self.fc1)
        h = products(self.fc2, products.gelu(self.fc1, normed))                               # (N, T, D)
        return _add(x, gate_mlp, h, next_shift, next_scale, NORM_EPS, rows, reader)


BLOCKS = {
    "in-context": InContextBlock,
    "cross-attention": CrossAttentionBlock,
    "adaln": AdaLNBlock,
    "adaln-zero": AdaLNZeroBlock,
}


def cross_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, num_heads: int
) -> torch.Tensor:
    """Return softmax(q kᵀ / √d) v of queries (N, T, D) over keys and values (N, S, D), heads side by side: (N, T, D).

    On the CPU it is computed in float32, as the attention among the tokens is.
    """
    is_narrow = queries.device.type == "cpu" and queries.dtype.itemsize == 2
    heads = len(queries), -1, num_heads, queries.shape[2] // num_heads
    q, k, v = (
        (each.float() if is_narrow else each).view(heads).transpose(1, 2)                     # (N, heads, T or S, d)
        for each in (queries, keys, values)
    )
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).to(queries.dtype)


def _add(
    x: torch.Tensor,
    gate: torch.Tensor,
    h: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    rows: torch.Tensor | None,
    reader: Layer,
) -> tuple[torch.Tensor, Activations]:
    """Return x + gate h and its modulated norm as `reader` reads it."""
    if isinstance(reader, Float8Linear):
        x, values, scales = gate_residual_layernorm_modulate_float8(x, gate, h, shift, scale, eps, rows)
        return x, (values, scales)
    return gate_residual_layernorm_modulate(x, gate, h, shift, scale, eps, rows)
