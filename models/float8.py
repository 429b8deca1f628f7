"""Linear layers of a DiT in float8: what is made of the layers that a checkpoint has. Knows no products and no samples.

References: float8_e4m3fn is E4M3 of "FP8 Formats for Deep Learning" (arXiv 2209.05433); a scale a row of activations
and an output of weights is the rowwise scaling of torch._scaled_mm.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

from dit_serve.kernels.float8 import quantise_weight


class Float8Linear(nn.Module):
    """A linear layer whose weight is float8_e4m3fn with a scale an output, made of one in a wider format.

    Attributes:
        weight: (O, K) float8_e4m3fn.
        weight_scales: (O,) float32.
        bias: (O,), in the format of the layer that it was made of and of its results.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        values, scales = quantise_weight(layer.weight.detach())
        self.register_buffer("weight", values)
        self.register_buffer("weight_scales", scales)
        self.register_buffer("bias", layer.bias.detach())
        self.weight: torch.Tensor
        self.weight_scales: torch.Tensor
        self.bias: torch.Tensor


Layer: TypeAlias = nn.Linear | Float8Linear


def quantise_blocks(blocks: nn.ModuleList) -> None:
    """Turn the layers of DiT blocks that read modulated norms or the MLP's activations into Float8Linear, for good.

    The attention's projection stays as it is: its rows are complete only when all heads are, so that to quantise them
    would take a pass of its own for a tenth of the block's operations.
    """
    for block in blocks:
        for name in ("qkv", "fc1", "fc2"):
            setattr(block, name, Float8Linear(getattr(block, name)))
