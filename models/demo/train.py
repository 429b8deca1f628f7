"""Trains the two demo models of digits again, from the real digits to two folders that `dit serve` takes.

    python -m dit_serve.models.demo.train --out build/demo

The recipe is four configurations in order; a run that was stopped goes on where it was. The larger model starts from
the smaller one, autoencoder and DiT alike: the same digits with twice the side. Measurement is in
evaluation/demo_quality.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dit_serve.models.training.autoencoder import AutoencoderConfig, train_autoencoder
from dit_serve.models.training.dit import TrainingConfig, train


def autoencoders(root: Path) -> tuple[AutoencoderConfig, AutoencoderConfig]:
    """The configurations of the autoencoders, 64 pixels and 128."""
    small = AutoencoderConfig(out=root / "autoencoder-64")
    large = replace(
        small,
        out=root / "autoencoder-128",
        initial=small.out,
        resolution=128,
        steps=900,
        batch_size=12,
        learning_rate=1.5e-3,
        latent_std=0.5,
        reach=6,
    )
    return small, large


def transformers(root: Path) -> tuple[TrainingConfig, TrainingConfig]:
    """The configurations of the DiTs, 64 pixels and 128: both see 16 tokens."""
    small = TrainingConfig(
        out=root / "digits-64",
        vae=root / "autoencoder-64",
        steps=9000,
        batch_size=128,
        learning_rate=1e-3,
        warmup_steps=300,
        decay_steps=3500,
        beta2=0.99,
        max_grad_norm=1.0,
        ema_decay=0.999,
        reach=1,
        views=8,
        precision="bfloat16",
    )
    large = replace(
        small,
        out=root / "digits-128",
        vae=root / "autoencoder-128",
        initial=small.out,
        resolution=128,
        patch_size=4,
        steps=8800,
        decay_steps=2000,
        snr_gamma=1.0,
        reach=2,
        views=4,
    )
    return small, large


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the four networks, except those already finished in the output folder."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.demo.train", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder of all four runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the arithmetic")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for autoencoder in autoencoders(options.out):
        if not (autoencoder.out / "config.json").exists():
            train_autoencoder(autoencoder)
    for transformer in transformers(options.out):
        print(train(transformer))


if __name__ == "__main__":
    main()
