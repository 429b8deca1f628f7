"""The Diffusion Transformer: (x_t, t, y) -> noise and, where learned, its variance.

Architecture of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748, section 3 and figure 3), with any of
its four blocks (models/blocks.py). Nothing here knows samplers, guidance, files or requests.

What conditions a row depends on (t, y) alone, so it is computed apart, for many pairs in one product and long before
the step that uses it: `modulations`, then `denoise`. For that all blocks' projections of the condition are one matrix.
The embedders of t and y carry a leading axis E: 1 as in the paper, or one per block as diffusers' folders allow.

Legend of shapes: N rows, C channels, H W latent side, T tokens, D width, L depth, E embedders, p patch side, V vectors
that condition a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from dit_serve.kernels.layernorm_modulate import layernorm_modulate, layernorm_modulate_float8
from dit_serve.models.architecture import DiTConfig
from dit_serve.models.blocks import BLOCKS, NORM_EPS, AdaLNZeroBlock
from dit_serve.models.float8 import Float8Linear, quantise_blocks
from dit_serve.models.products import Activations, Products
from dit_serve.models.tokens import FREQUENCIES, patchify, sincos_positions, timestep_waves, unpatchify

__all__ = ["ConditionEmbedder", "DiT", "DiTConfig"]


class DiT(nn.Module):
    """A DiT, initialised as in the paper: the output zero, and each adaLN-Zero block the identity.

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
        if config.modulation_outputs:
            self.modulation = nn.Linear(width, config.modulation_outputs)
        self.blocks = nn.ModuleList([BLOCKS[config.conditioning](config) for _ in range(config.depth)])
        if not config.has_adaptive_norms:
            self.final_norm = nn.LayerNorm(width, NORM_EPS)
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
        """Return every vector that conditions the rows: (N, V, D), in the weights' dtype.

        They depend on (t, y) alone, so a whole schedule's may be computed at once.

            in-context        V = 2: the embeddings of t and of y
            cross-attention   V = 4L: of each block the key of t, that of y, then their values
            adaln             V = 4L + 2: of each block shift and scale of the attention, then of the MLP
            adaln-zero        V = 6L + 2: the same, each pair with a gate after it
            both              the last two are the final layer's shift and scale
        """
        dtype, width = self.patch_embed.weight.dtype, self.config.hidden_size
        if self.config.has_adaptive_norms:
            c = F.silu(self.embedder(t, y)).to(dtype)                                         # (E, N, D)
            return self._regressed(c).view(-1, self.config.modulation_vectors, width)
        embedded = torch.stack([each[0] for each in self.embedder.parts(t, y)], dim=1).to(dtype)  # (N, 2, D)
        if self.config.conditioning == "in-context":
            return embedded
        keys_values = F.linear(embedded, self.modulation.weight, self.modulation.bias)        # (N, 2, L·2D)
        keys_values = keys_values.view(len(embedded), 2, self.config.depth, 2, width)
        return keys_values.permute(0, 2, 3, 1, 4).flatten(1, 3)                               # (N, 4L, D)

    def denoise(
        self, x: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the output of `forward` for latents x under modulations (N, V, D).

        Args:
            x: (N, C, H, W), any float dtype.
            modulations: (N, V, D), or with `rows` any number R of them.
            rows: (N,) int64, whose of the R modulations are each latent's.
        """
        patches = patchify(x, self.config.patch_size, self.patch_embed.weight.dtype)          # (N, T, C·p·p)
        h = self.products(self.patch_embed, patches, self.pos_embed.to(patches.dtype))        # (N, T, D)
        match self.config.conditioning:                                                       # all: (N, T, D)
            case "in-context":
                normed: Activations = self._in_context(h, modulations, rows)
            case "cross-attention":
                normed = self._cross_attention(h, modulations, rows)
            case "adaln":
                normed = self._adaln(h, modulations, rows)
            case "adaln-zero":
                normed = self._adaln_zero(h, modulations, rows)
        return unpatchify(self.products(self.final, normed), self.config.patch_size)          # (N, out, H, W)

    @property
    def is_float8(self) -> bool:
        """Whether the blocks multiply in float8."""
        return isinstance(self.blocks[0].qkv, Float8Linear)

    def quantise(self) -> None:
        """Multiply in float8 from here on where a block's rows are whole: its qkv and both layers of its MLP.

        Raises:
            ValueError: the blocks are no adaLN-Zero blocks.
        """
        if self.config.conditioning != "adaln-zero":
            raise ValueError(f"float8 is for conditioning adaln-zero alone, got {self.config.conditioning}")
        quantise_blocks(self.blocks)

    def choose_ways(
        self, batches: Sequence[int], milliseconds: Callable[[Callable[[], object]], float]
    ) -> tuple[int, ...]:
        """Find the fastest way to each product of a block for these numbers of sequences: see `Products.choose`.

        Of cross-attention's further layers both are of the projection's kind, so their way is the same.
        """
        block = cast("AdaLNZeroBlock", self.blocks[0])
        layers = [(block.qkv, "none"), (block.proj, "none"), (block.fc1, "gelu_tanh"), (block.fc2, "none")]
        return self.products.choose(layers, self.config.block_tokens, batches, milliseconds)

    @staticmethod
    def parameter_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of tensor `name` in a model of `dtype`: the embeddings of t, y and position stay float32."""
        return torch.float32 if name == "pos_embed" or name.startswith("embedder.") else dtype

    def _regressed(self, c: torch.Tensor) -> torch.Tensor:
        """Return shifts, scales and gates (N, V·D) of conditions c (E, N, D)."""
        weight, bias = self.modulation.weight, self.modulation.bias
        width, depth = self.config.hidden_size, self.config.depth
        if not self.config.per_block_embedders:
            return F.linear(c[0], weight, bias)
        split = 6 * depth * width                                                             # blocks, then final
        w = weight[:split].view(depth, 6 * width, width)
        b = bias[:split].view(depth, 1, 6 * width)
        of_blocks = torch.baddbmm(b, c, w.transpose(1, 2)).transpose(0, 1).flatten(1)         # (N, L·6D)
        of_final = F.linear(c[0], weight[split:], bias[split:])                               # with block 0's c
        return torch.cat([of_blocks, of_final], dim=1)

    def _in_context(self, h: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Return tokens h after the blocks, normed for the final layer; t and y are with them only between."""
        h = torch.cat([h, _rows_of(modulations, rows)], dim=1)                                # (N, T + 2, D)
        for block in self.blocks:
            h = block(h, self.products)
        normed: torch.Tensor = self.final_norm(h[:, : self.config.tokens])                    # (N, T, D)
        return normed

    def _cross_attention(self, h: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Return tokens h after the blocks, normed for the final layer."""
        keys_values = _rows_of(modulations, rows)                                             # (N, 4L, D)
        for i, block in enumerate(self.blocks):
            h = block(h, keys_values[:, 4 * i : 4 * i + 4], self.products)                    # (N, T, D)
        normed: torch.Tensor = self.final_norm(h)
        return normed

    def _adaln(self, h: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Return tokens h after the blocks, normed for the final layer."""
        for i, block in enumerate(self.blocks):
            h = block(h, modulations[:, 4 * i : 4 * i + 4], self.products, rows)              # (N, T, D)
        return layernorm_modulate(h, modulations[:, -2], modulations[:, -1], NORM_EPS, rows)

    def _adaln_zero(self, h: torch.Tensor, modulations: torch.Tensor, rows: torch.Tensor | None) -> Activations:
        """Return tokens h after the blocks, normed for the final layer: each pass norms for what comes next."""
        first = layernorm_modulate_float8 if self.is_float8 else layernorm_modulate
        normed: Activations = first(h, modulations[:, 0], modulations[:, 1], NORM_EPS, rows)  # (N, T, D)
        readers = [*(block.qkv for block in list(self.blocks)[1:]), self.final]
        for i, (block, reader) in enumerate(zip(self.blocks, readers, strict=True)):
            h, normed = block(h, normed, modulations[:, 6 * i + 2 : 6 * i + 8], self.products, reader, rows)
        return normed

    def _initialise(self) -> None:
        """Xavier for linear layers, 0.02 for the embedders, zero for the output (paper, section 3.2).

        Zero for what regresses shift, scale and gate, too: an adaLN-Zero block begins as the identity, and an adaLN
        block, which has no gate to close, as ViT's, the same for every (t, y). What makes the keys and values of all
        blocks in one matrix is as many Xavier layers.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if self.config.has_adaptive_norms:
            nn.init.zeros_(self.modulation.weight)
        elif self.config.conditioning == "cross-attention":
            width = self.config.hidden_size
            for of_block in self.modulation.weight.detach().view(-1, 2 * width, width):
                nn.init.xavier_uniform_(of_block)
        nn.init.zeros_(self.final.weight)


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
        of_t, of_y = self.parts(t, y)
        return of_t + of_y

    def parts(self, t: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings of t and of y, (E, N, D) each."""
        waves = timestep_waves(t, self.frequency_shift).to(self.t_in_weight.dtype)            # (N, 256)
        waves = waves.expand(self.t_in_weight.shape[0], -1, -1)                               # (E, N, 256)
        hidden = F.silu(torch.baddbmm(self.t_in_bias.unsqueeze(1), waves, self.t_in_weight.transpose(1, 2)))
        of_t = torch.baddbmm(self.t_out_bias.unsqueeze(1), hidden, self.t_out_weight.transpose(1, 2))
        return of_t, self.label_table[:, y]                                                   # (E, N, D) each


def _rows_of(modulations: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """Return the modulations of each latent, (N, V, D)."""
    return modulations if rows is None else modulations.index_select(0, rows)
