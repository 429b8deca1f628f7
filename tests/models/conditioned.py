"""Models of each of the paper's four blocks with random weights, in memory and as folders that training writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dit_serve.models.architecture import CONDITIONED, Conditioned
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.training.export import export_pipeline
from tests.models.tiny_vae import save_tiny_vae

OTHERS = tuple(each for each in CONDITIONED if each != "adaln-zero")  # that diffusers has no class for
SMALL = DiTConfig(
    input_size=8, patch_size=2, hidden_size=48, depth=2, num_heads=4, num_classes=10, frequency_shift=1.0
)


def random_dit(config: DiTConfig, std: float = 0.1) -> DiT:
    """Return a model with every weight drawn at random from a fixed seed: a new one is zero, and proves nothing."""
    generator = torch.Generator().manual_seed(0)
    model = DiT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return model


def save_conditioned(folder: Path, conditioning: Conditioned, base: DiTConfig = SMALL) -> DiT:
    """Write a whole pipeline's folder as training does, and return its model: `base` with other blocks."""
    model = random_dit(replace(base, conditioning=conditioning, frequency_shift=1.0))
    names = [f"thing {i}" for i in range(model.config.num_classes)]
    export_pipeline(folder, model.config, model.state_dict(), Schedule(), names, torch.float32)
    save_tiny_vae(folder / "vae")
    return model
