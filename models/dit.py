"""The Diffusion Transformer with adaLN-Zero blocks: (x_t, t, y) -> noise and, where learned, its variance.

Architecture of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3 and figure 3). Nothing here
knows samplers, guidance, files or requests.

Two things differ from the usual writing of it. The adaLN projections of all blocks and of the final layer are one
matrix, so the conditioning of many (t, y) pairs is one product (`modulations`), which may be computed long before the
step that uses it (`denoise`). And the embedders of t and y carry a leading axis E: 1 as in the paper, or one per block
as diffusers' folders allow.

Legend of shapes: N rows, C channels, H W latent side, T tokens, D width, L depth, E embedders, p patch side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dit_serve.kernels.attention import attention
from dit_serve.kernels.gate_residual_layernorm_modulate import gate_residual_layernorm_modulate
from dit_serve.kernels.layernorm_modulate import layernorm_modulate
from dit_serve.kernels.linear import linear

NORM_EPS = 1e-6  # of the norms before attention and before the final layer, in the paper's code and in diffusers alike
FREQUENCIES = 128  # sine and cosine of each: the 256 inputs of the timestep's MLP


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """The architecture of one DiT; the defaults are DiT-XL/2 at 256 pixels.

    Attributes:
        input_size: side of the latent.
        patch_size: side of the square of latent pixels that makes one token.
        in_channels: channels of the latent.
        hidden_size: width D of the tokens.
        depth: number of blocks L.
        num_heads: attention heads; they split hidden_size evenly.
        mlp_ratio: width of the MLP's hidden layer over hidden_size.
        num_classes: classes without the null class, whose index is num_classes.
        learn_sigma: whether a second set of in_channels outputs interpolates the variance.
        per_block_embedders: whether every block embeds t and y with weights of its own.
        frequency_shift: s in the timestep frequencies exp(-ln(10000) k / (128 - s)): 0 in the paper's code, 1 in
            diffusers.
        mlp_norm_eps: epsilon of the norm before the MLP: 1e-6 in the paper's code, `norm_eps` in a diffusers config.

    Raises:
        ValueError: a size is not positive, or does not divide what it must.
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    learn_sigma: bool = True
    per_block_embedders: bool = False
    frequency_shift: float = 0.0
    mlp_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("input_size", "patch_size", "in_channels", "hidden_size", "depth", "num_heads", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.input_size % self.patch_size:
            raise ValueError(f"input_size {self.input_size} must be a multiple of patch_size {self.patch_size}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of num_heads {self.num_heads}")
        if self.hidden_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 4 for sine-cosine positions")

    @property
    def out_channels(self) -> int:
        """Channels of the output: noise, and the variance's interpolation where it is learned."""
        return 2 * self.in_channels if self.learn_sigma else self.in_channels

    @property
    def tokens(self) -> int:
        """Length T of the sequence that one latent becomes."""
        return int((self.input_size // self.patch_size) ** 2)

    @property
    def mlp_size(self) -> int:
        """Width of the MLP's hidden layer."""
        return int(self.hidden_size * self.mlp_ratio)

    @property
    def modulation_vectors(self) -> int:
        """Vectors of length D that condition one row: six per block, two for the final layer."""
        return 6 * self.depth + 2


class DiT(nn.Module):
    """A DiT with adaLN-Zero blocks, initialised as in the paper: each block the identity, the output zero.

    Attributes:
        config: its architecture.
        batch_invariant: whether a row's numbers may not depend on how many rows there are (see kernels/linear.py).
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.batch_invariant = False
        width = config.hidden_size
        positions = sincos_positions(width, config.input_size // config.patch_size)
        self.register_buffer("pos_embed", torch.from_numpy(positions).float())
        self.pos_embed: torch.Tensor
        self.patch_embed = nn.Linear(config.in_channels * config.patch_size**2, width)
        self.embedder = ConditionEmbedder(config)
        self.modulation = nn.Linear(width, config.modulation_vectors * width)
        self.blocks = nn.ModuleList([DiTBlock(config) for _ in range(config.depth)])
        self.final = nn.Linear(width, config.patch_size**2 * config.out_channels)
        self._initialise()

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the network's output for latents x at timesteps t of classes y.

        Args:
            x: (N, C, H, W), any float dtype.
            t: (N,) timesteps, 0 to 999.
            y: (N,) class ids; num_classes is the null class.

        Returns:
            (N, out_channels, H, W) float32: the noise, then the variance's interpolation where learned.
        """
        return self.denoise(x, self.modulations(t, y))

    def modulations(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return every vector that conditions the rows: (N, 6L + 2, D), in the weights' dtype.

        Block i owns vectors 6i to 6i + 5 (shift, scale, gate of the attention, then of the MLP); the last two are the
        final layer's shift and scale. They depend on (t, y) alone, so a whole schedule's may be computed at once.
        """
        c = F.silu(self.embedder(t, y)).to(self.modulation.weight.dtype)                      # (E, N, D)
        weight, bias = self.modulation.weight, self.modulation.bias
        width, depth = self.config.hidden_size, self.config.depth
        if not self.config.per_block_embedders:
            return F.linear(c[0], weight, bias).view(-1, 6 * depth + 2, width)
        split = 6 * depth * width                                                             # blocks, then final
        w = weight[:split].view(depth, 6 * width, width)
        b = bias[:split].view(depth, 1, 6 * width)
        of_blocks = torch.baddbmm(b, c, w.transpose(1, 2)).transpose(0, 1).flatten(1)         # (N, L·6D)
        of_final = F.linear(c[0], weight[split:], bias[split:])                               # with block 0's c
        return torch.cat([of_blocks, of_final], dim=1).view(-1, 6 * depth + 2, width)

    def denoise(self, x: torch.Tensor, modulations: torch.Tensor) -> torch.Tensor:
        """Return the output of `forward` for latents x under modulations (N, 6L + 2, D)."""
        invariant = self.batch_invariant
        patches = patchify(x, self.config.patch_size).to(self.patch_embed.weight.dtype)       # (N, T, C·p·p)
        h = linear(patches, self.patch_embed.weight, self.patch_embed.bias, batch_invariant=invariant)
        h = h + self.pos_embed.to(patches.dtype)                                              # (N, T, D)
        normed = layernorm_modulate(h, modulations[:, 0], modulations[:, 1], NORM_EPS)        # (N, T, D)
        for i, block in enumerate(self.blocks):
            h, normed = block(h, normed, modulations[:, 6 * i + 2 : 6 * i + 8], invariant)
        out = linear(normed, self.final.weight, self.final.bias, batch_invariant=invariant)   # (N, T, p·p·out)
        return unpatchify(out.float(), self.config.patch_size)                                # (N, out, H, W)

    @staticmethod
    def parameter_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of tensor `name` in a model of `dtype`: the embeddings of t, y and position stay float32."""
        return torch.float32 if name == "pos_embed" or name.startswith("embedder.") else dtype

    def _initialise(self) -> None:
        """Xavier for linear layers, 0.02 for the embedders, zero for modulation and output (paper, section 3.2)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in (self.modulation, self.final):
            nn.init.zeros_(module.weight)


class ConditionEmbedder(nn.Module):
    """Embeds (t, y) as c = MLP(sine-cosine of t) + label_table[y], in float32, once for each of E embedders."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, count = config.hidden_size, config.depth if config.per_block_embedders else 1
        self.frequency_shift = config.frequency_shift
        self.t_in_weight = nn.Parameter(torch.randn(count, width, 2 * FREQUENCIES) * 0.02)
        self.t_in_bias = nn.Parameter(torch.zeros(count, width))
        self.t_out_weight = nn.Parameter(torch.randn(count, width, width) * 0.02)
        self.t_out_bias = nn.Parameter(torch.zeros(count, width))
        self.label_table = nn.Parameter(torch.randn(count, config.num_classes + 1, width) * 0.02)

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return c: (E, N, D) for timesteps t (N,) and classes y (N,)."""
        waves = timestep_waves(t, self.frequency_shift).to(self.t_in_weight.dtype)            # (N, 256)
        waves = waves.expand(self.t_in_weight.shape[0], -1, -1)                               # (E, N, 256)
        hidden = F.silu(torch.baddbmm(self.t_in_bias.unsqueeze(1), waves, self.t_in_weight.transpose(1, 2)))
        of_t = torch.baddbmm(self.t_out_bias.unsqueeze(1), hidden, self.t_out_weight.transpose(1, 2))
        return of_t + self.label_table[:, y]                                                  # (E, N, D)


class DiTBlock(nn.Module):
    """One adaLN-Zero block: attention, then MLP, each behind a modulated norm and added through a gate.

    Adding a branch and norming what follows are one pass over the tokens, so a block takes its first norm's output and
    gives its successor's: the next block's first norm, or the final layer's.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.mlp_norm_eps = config.num_heads, config.mlp_norm_eps
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, config.mlp_size)
        self.fc2 = nn.Linear(config.mlp_size, width)

    def forward(
        self, x: torch.Tensor, normed: torch.Tensor, modulation: torch.Tensor, batch_invariant: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the block's tokens and their norm for the successor, (N, T, D) each.

        Args:
            x: (N, T, D) tokens.
            normed: (N, T, D), their norm with this block's first shift and scale.
            modulation: (N, 6, D): this block's other four vectors, then the successor's first shift and scale.
            batch_invariant: whether a row's numbers may not depend on how many rows there are.
        """
        gate_msa, shift_mlp, scale_mlp, gate_mlp, next_shift, next_scale = modulation.unbind(1)

        def product(layer: nn.Linear, of: torch.Tensor, epilogue: str = "none") -> torch.Tensor:
            return linear(of, layer.weight, layer.bias, epilogue, batch_invariant=batch_invariant)

        h = product(self.proj, attention(product(self.qkv, normed), self.num_heads))          # (N, T, D)
        x, normed = gate_residual_layernorm_modulate(x, gate_msa, h, shift_mlp, scale_mlp, self.mlp_norm_eps)
        h = product(self.fc2, product(self.fc1, normed, "gelu_tanh"))                         # (N, T, D)
        return gate_residual_layernorm_modulate(x, gate_mlp, h, next_shift, next_scale, NORM_EPS)


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


def patchify(x: torch.Tensor, patch: int) -> torch.Tensor:
    """Return x (N, C, H, W) as tokens (N, T, C·p·p), row by row; inside a token channel, then row, then column."""
    rows, channels, height, width = x.shape
    x = x.reshape(rows, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * patch * patch)


def unpatchify(tokens: torch.Tensor, patch: int) -> torch.Tensor:
    """Return tokens (N, T, p·p·C) as an image (N, C, H, W); inside a token row, then column, then channel.

    The order differs from patchify's: the paper's final layer puts the channel last.
    """
    rows, count, size = tokens.shape
    side = math.isqrt(count)
    channels = size // patch**2
    x = tokens.reshape(rows, side, side, patch, patch, channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(rows, channels, side * patch, side * patch)
