"""A latent as tokens and back, and the fixed waves that tell a network of place and time.

Plain functions of the paper's architecture (arXiv 2212.09748, section 3.2) without weights. Legend of shapes: N rows,
C channels, H W latent side, T tokens, p patch side.
"""

from __future__ import annotations

import math

import numpy as np
import torch

FREQUENCIES = 128  # sine and cosine of each: the 256 inputs of the timestep's MLP


def timestep_waves(t: torch.Tensor, frequency_shift: float) -> torch.Tensor:
    """Return cosines, then sines, of t at 128 frequencies from 1 down to about 1/10000: (N, 256) float32.

    "Attention Is All You Need" (arXiv 1706.03762), section 3.5, cosines first as in the paper's code.
    """
    exponent = torch.arange(FREQUENCIES, dtype=torch.float32, device=t.device) / (FREQUENCIES - frequency_shift)
    angles = t.float().unsqueeze(1) * torch.exp(-math.log(10000) * exponent)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def sincos_positions(width: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return fixed position embeddings of a side x side grid, row by row: (side², width) float64.

    The first half of the width encodes the column, the second the row; each is sines then cosines at width/4
    frequencies.
    """
    frequencies = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width // 4))
    angles = np.arange(side, dtype=np.float64)[:, None] * frequencies                         # (side, D/4)
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)                          # (side, D/2)
    return np.concatenate([np.tile(waves, (side, 1)), np.repeat(waves, side, axis=0)], axis=1)


def patchify(x: torch.Tensor, patch: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return x (N, C, H, W) as tokens (N, T, C·p·p), row by row; inside a token channel, then row, then column."""
    rows, channels, height, width = x.shape
    squares = x.reshape(rows, channels, height // patch, patch, width // patch, patch).permute(0, 2, 4, 1, 3, 5)
    tokens = torch.empty(squares.shape, dtype=dtype or x.dtype, device=x.device)
    return tokens.copy_(squares).view(rows, -1, channels * patch * patch)  # moved and converted in one pass


def unpatchify(tokens: torch.Tensor, patch: int) -> torch.Tensor:
    """Return tokens (N, T, p·p·C) as an image (N, C, H, W) float32; inside a token row, then column, then channel.

    The order differs from patchify's: the paper's final layer puts the channel last.
    """
    rows, count, size = tokens.shape
    side = math.isqrt(count)
    channels = size // patch**2
    squares = tokens.reshape(rows, side, side, patch, patch, channels).permute(0, 5, 1, 3, 2, 4)
    image = torch.empty(squares.shape, dtype=torch.float32, device=tokens.device)
    return image.copy_(squares).view(rows, channels, side * patch, side * patch)  # moved and converted in one pass
