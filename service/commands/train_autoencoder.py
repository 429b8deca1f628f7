"""Trains a small KL autoencoder on images and writes a folder of diffusers' layout, for `dit train --vae`.

    dit train-autoencoder --data pictures --out autoencoder
"""

from __future__ import annotations

import argparse

from dit_serve.models.training.autoencoder import AutoencoderConfig, train_autoencoder
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.destination import make_ready
from dit_serve.service.commands.terminal import print_path
from dit_serve.service.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per field of the training's configuration."""
    add_flags(parser, AutoencoderConfig)


def run(options: argparse.Namespace) -> int:
    """Trains, and prints the folder."""
    config = read_config(AutoencoderConfig, options)
    make_ready(config.out)  # not after hours
    try:
        print_path(train_autoencoder(config))
    except ValueError as error:
        raise CommandError(str(error)) from error
    return 0
