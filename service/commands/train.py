"""Trains a DiT on labelled images and writes a folder of diffusers' layout, which `dit serve` takes.

    dit train --data pictures --vae autoencoder --out model --steps 20000

Started again with the same flags, it goes on where it stopped.
"""

from __future__ import annotations

import argparse

from dit_serve.models.training.dit import TrainingConfig, train
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.commands.destination import make_ready
from dit_serve.service.commands.terminal import print_path
from dit_serve.service.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per field of the training's configuration."""
    add_flags(parser, TrainingConfig)


def run(options: argparse.Namespace) -> int:
    """Trains, and prints the folder."""
    config = read_config(TrainingConfig, options)
    make_ready(config.out)  # not after hours
    try:
        print_path(train(config))
    except ValueError as error:
        raise CommandError(str(error)) from error
    return 0
