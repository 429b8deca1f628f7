"""Self-attention straight out of the fused projection: qkv (N, T, 3D) in, (N, T, D) out.

"Attention Is All You Need" (arXiv 1706.03762), eq. 1, without mask or dropout: every token of an image sees every
other one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def attention_reference(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return softmax(q kᵀ / √d) v, heads side by side again, (N, T, D).

    Args:
        qkv: (N, T, 3D), the queries of all heads, then the keys, then the values; d = D / num_heads.
        num_heads: heads that D splits into.
    """
    rows, tokens, width = qkv.shape
    heads = qkv.view(rows, tokens, 3, num_heads, width // 3 // num_heads)
    q, k, v = heads.permute(2, 0, 3, 1, 4)  # (N, heads, T, d) each
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, tokens, width // 3)


def attention(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return the attention's output, (N, T, D); see `attention_reference`.

    Raises:
        ValueError: the last side of qkv does not split into three times num_heads.
    """
    if qkv.shape[-1] % (3 * num_heads):
        raise ValueError(f"qkv must be (N, T, 3D) with D a multiple of {num_heads} heads, got {tuple(qkv.shape)}")
    return attention_reference(qkv, num_heads)
