"""Trains the demo model of Fashion-MNIST again, from the pictures to a folder that `dit serve` takes.

    python -m dit_serve.models.demo.train_fashion --out build/demo

Two configurations in order; a run that was stopped goes on where it was. Needs Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from dit_serve.models.training.autoencoder import AutoencoderConfig, train_autoencoder
from dit_serve.models.training.dit import TrainingConfig, train


def autoencoder(root: Path) -> AutoencoderConfig:
    """The configuration of the autoencoder: 64 pixels as 8x8 latents of 8 channels."""
    return AutoencoderConfig(
        out=root / "autoencoder-fashion-64",
        data="fashion",
        channels=(16, 32, 64, 64),
        latent_channels=8,
        layers_per_block=1,
        steps=5000,
        kl_weight=8e-6,
        reach=0,
        precision="bfloat16",
        stored="float16",
    )


def transformer(root: Path) -> TrainingConfig:
    """The configuration of the DiT: 16 tokens."""
    return TrainingConfig(
        out=root / "fashion-64",
        vae=root / "autoencoder-fashion-64",
        data="fashion",
        hidden_size=160,
        depth=9,
        num_heads=4,
        steps=26000,
        batch_size=64,
        learning_rate=8e-4,
        warmup_steps=500,
        decay_steps=10000,
        beta2=0.99,
        max_grad_norm=1.0,
        ema_decay=0.999,
        precision="bfloat16",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains both networks, or goes on with them."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.demo.train_fashion", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder of both runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the arithmetic")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    train_autoencoder(autoencoder(options.out))
    print(train(transformer(options.out)))


if __name__ == "__main__":
    main()
