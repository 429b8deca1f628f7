"""What a DiT is built of: its sizes, and which of the paper's four blocks it has.

"Scalable Diffusion Models with Transformers" (arXiv 2212.09748), section 3.2: how a block takes in its condition, the
timestep t and the class y. Needs the standard library alone; the network is models/dit.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Conditioned: TypeAlias = Literal["in-context", "cross-attention", "adaln", "adaln-zero"]
CONDITIONED: tuple[Conditioned, ...] = get_args(Conditioned)

# Vectors that condition a row: of one block, and beside those of all blocks.
_VECTORS = {"in-context": (0, 2), "cross-attention": (4, 0), "adaln": (4, 2), "adaln-zero": (6, 2)}
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
        conditioning: how the blocks take in t and y.

    Raises:
        ValueError: a size is not positive, does not divide what it must, or needs a table of positions, which are
            computed and in no file, that no model has; or the blocks are none of the four, or no adaLN-Zero blocks and
            have embedders of their own.
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
    conditioning: Conditioned = "adaln-zero"

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
        if self.conditioning not in CONDITIONED:
            given = str(self.conditioning)[:40]
            raise ValueError(f"conditioning must be one of {', '.join(CONDITIONED)}, got {given!r}")
        if self.per_block_embedders and self.conditioning != "adaln-zero":
            raise ValueError(f"per_block_embedders goes with conditioning adaln-zero alone, got {self.conditioning}")

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
    def has_adaptive_norms(self) -> bool:
        """Whether the norms' shift and scale are regressed from the condition; if not they are weights, as ViT's."""
        return self.conditioning in ("adaln", "adaln-zero")

    @property
    def block_tokens(self) -> int:
        """Length of the sequence in the blocks: in-context, t and y are tokens too."""
        return self.tokens + 2 if self.conditioning == "in-context" else self.tokens

    @property
    def modulation_vectors(self) -> int:
        """Vectors of length D that condition one row: those of all blocks, then those that no block has for itself."""
        of_block, beside = _VECTORS[self.conditioning]
        return self.depth * of_block + beside

    @property
    def modulation_outputs(self) -> int:
        """Outputs of the linear layer that makes these vectors, 0 where none does; cross-attention's takes t and y."""
        if self.conditioning == "in-context":
            return 0
        return self.modulation_vectors * self.hidden_size // (2 if self.conditioning == "cross-attention" else 1)
