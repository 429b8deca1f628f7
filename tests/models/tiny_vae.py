"""The smallest autoencoder with 8x down-sampling and four latent channels, for tests to write to disk."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL


def save_tiny_vae(folder: Path, **changes: object) -> AutoencoderKL:
    """Writes it as diffusers does, with random weights of a fixed seed, and returns it.

    Args:
        changes: arguments of AutoencoderKL that shall differ.
    """
    arguments: dict[str, object] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 4, 8, 8),
        "norm_num_groups": 2,
        "sample_size": 32,
        "scaling_factor": 2.0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = AutoencoderKL(**(arguments | changes)).eval()
    module.requires_grad_(False)  # attention's arithmetic differs in the last bit for weights that want gradients
    module.save_pretrained(folder)
    return module
