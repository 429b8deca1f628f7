"""attention against softmax(q kᵀ / √d) v written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dit_serve.kernels.attention import attention


def formula(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = qkv.double().chunk(3, dim=-1)
    size = q.shape[-1] // heads
    parts = []
    for head in range(heads):
        here = slice(head * size, (head + 1) * size)
        weights = torch.softmax(q[..., here] @ k[..., here].transpose(1, 2) / math.sqrt(size), dim=-1)
        parts.append(weights @ v[..., here])
    return torch.cat(parts, dim=-1)


@pytest.mark.parametrize(("rows", "tokens", "width", "heads"), [(1, 1, 8, 2), (3, 16, 48, 4), (1, 257, 144, 2)])
def test_equals_the_formula(rows: int, tokens: int, width: int, heads: int) -> None:
    qkv = 2 * torch.randn(rows, tokens, 3 * width)
    # scores of up to 20 in float32 are exact to 10⁻⁶, and so is a weight's share of V's numbers, up to about 8
    torch.testing.assert_close(attention(qkv, heads).double(), formula(qkv, heads), rtol=1e-5, atol=2e-5)


def test_a_width_that_does_not_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a multiple of 5 heads, got \(1, 2, 24\)"):
        attention(torch.zeros(1, 2, 24), 5)
