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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from dit_serve.kernels.attention import attention
from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate,
    gate_residual_layernorm_modulate_float8,
)
from dit_serve.kernels.layernorm_modulate import layernorm_modulate, layernorm_modulate_float8
from dit_serve.models.float8 import Float8Linear, Layer, quantise_blocks
from dit_serve.models.products import Activations, Products
from dit_serve.models.tokens import FREQUENCIES, patchify, sincos_positions, timestep_waves, unpatchify

NORM_EPS = 1e-6  # of the norms before attention and before the final layer, in the paper's code and in diffusers alike

_MOST_POSITIONS = 1 << 27  # numbers in the table: twice a DiT-XL/2's for images of 4096 pixels


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
        has_null_class: whether the label table has a row for it; without one there is no guidance.
        learn_sigma: whether a second set of in_channels outputs interpolates the variance.
        per_block_embedders: whether every block embeds t and y with weights of its own.
        frequency_shift: s in the timestep frequencies exp(-ln(10000) k / (128 - s)): 0 in the paper's code, 1 in
            diffusers.
        mlp_norm_eps: epsilon of the norm before the MLP: 1e-6 in the paper's code, `norm_eps` in a diffusers config.

    Raises:
        ValueError: a size is not positive, does not divide what it must, or needs a table of positions, which are
            computed and in no file, that no model has.
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    has_null_class: bool = True
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
        if self.tokens * self.hidden_size > _MOST_POSITIONS:
            raise ValueError(f"input_size {self.input_size} gives {self.tokens} tokens, more than any latent has")
        if self.hidden_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 4 for sine-cosine positions")

    @property
    def label_rows(self) -> int:
        """Rows of the label table: the classes, and the null class where there is one."""
        return self.num_classes + self.has_null_class

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
        products: how its linear layers are multiplied.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.products = Products()
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
            y: (N,) class ids; num_classes is the null class, where there is one.

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

    def denoise(
        self, x: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the output of `forward` for latents x under modulations (N, 6L + 2, D).

        Args:
            x: (N, C, H, W), any float dtype.
            modulations: (N, 6L + 2, D), or with `rows` any number R of them.
            rows: (N,) int64, whose of the R modulations are each latent's.
        """
        patches = patchify(x, self.config.patch_size, self.patch_embed.weight.dtype)          # (N, T, C·p·p)
        h = self.products(self.patch_embed, patches, self.pos_embed.to(patches.dtype))        # (N, T, D)
        first = layernorm_modulate_float8 if self.is_float8 else layernorm_modulate
        normed: Activations = first(h, modulations[:, 0], modulations[:, 1], NORM_EPS, rows)  # (N, T, D)
        readers = [*(block.qkv for block in list(self.blocks)[1:]), self.final]
        for i, (block, reader) in enumerate(zip(self.blocks, readers, strict=True)):
            h, normed = block(h, normed, modulations[:, 6 * i + 2 : 6 * i + 8], self.products, reader, rows)
        return unpatchify(self.products(self.final, normed), self.config.patch_size)          # (N, out, H, W)

    @property
    def is_float8(self) -> bool:
        """Whether the blocks multiply in float8."""
        return isinstance(self.blocks[0].qkv, Float8Linear)

    def quantise(self) -> None:
        """Multiply in float8 from here on where a block's rows are whole: its qkv and both layers of its MLP."""
        quantise_blocks(self.blocks)

    def choose_ways(
        self, batches: Sequence[int], milliseconds: Callable[[Callable[[], object]], float]
    ) -> tuple[int, ...]:
        """Find the fastest way to each product of a block for these numbers of sequences: see `Products.choose`."""
        block = cast("DiTBlock", self.blocks[0])
        layers = [(block.qkv, "none"), (block.proj, "none"), (block.fc1, "gelu_tanh"), (block.fc2, "none")]
        return self.products.choose(layers, self.config.tokens, batches, milliseconds)

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
        self.label_table = nn.Parameter(torch.randn(count, config.label_rows, width) * 0.02)

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
