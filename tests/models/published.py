"""The published models, for tests that hold against all of them."""

from __future__ import annotations

from dit_serve.models.dit import DiTConfig
from dit_serve.models.registry import PATCHES, SIZES

# at a 32x32x4 latent, which is 256 pixels, by name: "DiT-XL/2" and so on
VARIANTS = {
    f"DiT-{size}/{patch}": DiTConfig(patch_size=patch, depth=depth, hidden_size=width, num_heads=heads)
    for size, (depth, width, heads) in SIZES.items()
    for patch in PATCHES
}
