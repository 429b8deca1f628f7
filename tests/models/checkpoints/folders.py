"""Model folders of the hub's layout with random weights, made by diffusers itself."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel


def randomise(module: torch.nn.Module, std: float = 0.08) -> None:
    """Draw every weight at random: a freshly initialised DiT is the identity, and proves nothing."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std)


def share_embedders(transformer: DiTTransformer2DModel) -> None:
    """Give all blocks the first one's embedders, as the published weights have it."""
    first = transformer.transformer_blocks[0].norm1.emb.state_dict()
    for block in transformer.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(first)


def random_transformer(
    *, heads: int = 4, head_size: int = 12, depth: int = 2, side: int = 8, patch: int = 2, classes: int = 1000
) -> DiTTransformer2DModel:
    """Return a DiT of diffusers with learned sigma, embedders that differ between blocks, and no weight at zero."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=head_size, num_layers=depth, sample_size=side, patch_size=patch,
        in_channels=4, out_channels=8, num_embeds_ada_norm=classes,
    )
    randomise(transformer)
    return transformer.eval()


def random_vae(channels: tuple[int, ...] = (8, 8, 16, 16)) -> AutoencoderKL:
    """Return a small autoencoder with 8x down-sampling and four latent channels."""
    vae = AutoencoderKL(
        block_out_channels=channels, latent_channels=4, layers_per_block=1, norm_num_groups=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * len(channels), up_block_types=("UpDecoderBlock2D",) * len(channels),
    )
    return vae.eval()


def save_folder(
    folder: Path, transformer: DiTTransformer2DModel, vae: AutoencoderKL | None = None, **scheduler: object
) -> Path:
    """Write a DiTPipeline's folder, as the hub has it, and return it."""
    transformer.save_pretrained(folder / "transformer")
    (vae or random_vae()).save_pretrained(folder / "vae")
    DDIMScheduler(**{"clip_sample": False, **scheduler}).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": "0.42.1",
        "id2label": {str(i): f"thing {i}, object {i}" for i in range(transformer.config.num_embeds_ada_norm)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
