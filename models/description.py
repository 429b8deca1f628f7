"""What a loaded model says of itself, put together from its checkpoint, its weights and its options.

Knows no sample; the value itself is models/options.py's, which needs no torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from dit_serve.models.build import build_of
from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.checkpoint import Checkpoint
from dit_serve.models.dit import DiT
from dit_serve.models.options import DEFAULT_VAE, ModelInfo, ModelOptions, expanded
from dit_serve.models.sampling.sampler import SAMPLERS
from dit_serve.models.vae import VAE


def describe(
    checkpoint: Checkpoint, model: DiT, vae: VAE, device: torch.device, options: ModelOptions
) -> ModelInfo:
    """Return what a model says of itself, loaded from this checkpoint with these options."""
    return ModelInfo(
        name=checkpoint.name,
        resolution=checkpoint.config.input_size * vae.downsampling,
        num_classes=checkpoint.config.num_classes,
        labels=checkpoint.labels,
        max_steps=checkpoint.schedule.num_train_timesteps,
        samplers=tuple(SAMPLERS),
        guidance_channels=checkpoint.guidance_channels,
        dtype=str(model.patch_embed.weight.dtype).removeprefix("torch."),
        device=str(device),
        sha256=checkpoint.sha256,
        vae=_vae_name(checkpoint, options.vae),
        precision=options.precision or "",
        weights=checkpoint.which,
        can_guide=checkpoint.can_guide,
        conditioning=checkpoint.config.conditioning,
        build=build_of(device),
    )


def rest_sha256(checkpoint: Checkpoint, vae: Path) -> str:
    """Return a sum of what images depend on beside the transformer's weights: who has the same makes the same.

    Args:
        vae: the autoencoder's folder or file.

    Raises:
        CheckpointError: a file of it cannot be read.
    """
    files = [vae] if vae.is_file() else sorted(path for path in vae.iterdir() if path.is_file())
    parts = checkpoint.config, checkpoint.schedule, files_sha256(files)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _vae_name(checkpoint: Checkpoint, vae: str | None) -> str:
    """The autoencoder's hub id, or its folder's name alone: receipts go out, and paths are nobody's business."""
    if vae is None and isinstance(checkpoint.vae, Path):
        return ""
    named = str(vae or checkpoint.vae or DEFAULT_VAE)
    place = Path(expanded(named))
    return place.resolve().name if place.exists() else named
