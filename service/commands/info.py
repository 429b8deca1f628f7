"""Says what is in a checkpoint, without loading its weights: architecture, size, cost, schedule, labels, hash."""

from __future__ import annotations

import argparse

from dit_serve.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from dit_serve.models.errors import printable
from dit_serve.models.options import split_name
from dit_serve.models.registry import demo_path, multiply_adds, parameter_count, variant_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint."""
    parser.add_argument("checkpoint", help="demo name, folder, file or hub id")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--weights", choices=("model", "ema"), help="of a file that holds both; default ema")


def run(options: argparse.Namespace) -> int:
    """Prints one line per fact."""
    _, path = split_name(options.checkpoint)
    checkpoint = open_checkpoint(demo_path(path) or path, revision=options.revision, weights=options.weights)
    for name, value in facts(checkpoint):
        print(f"{name:<18}{printable(value)}")
    return 0


def facts(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Name and value of everything worth knowing."""
    config, schedule = checkpoint.config, checkpoint.schedule
    cost = multiply_adds(config)
    embedders = "one per block" if config.per_block_embedders else "shared by all blocks"
    betas = f"{schedule.beta_schedule} betas {schedule.beta_start:g} to {schedule.beta_end:g}"
    return [
        ("name", checkpoint.name),
        ("layout", checkpoint.layout),
        ("variant", variant_name(config) or "none of the published sizes"),
        ("latents", f"{config.in_channels} x {config.input_size} x {config.input_size}, patch {config.patch_size}"),
        ("network", f"{config.depth} blocks, width {config.hidden_size}, {config.num_heads} heads"),
        ("conditioning", config.conditioning),
        ("embedders", embedders),
        ("learned sigma", "yes" if config.learn_sigma else "no"),
        ("parameters", f"{parameter_count(config):,}"),
        ("multiply-adds", f"{cost:,} per forward pass of one sequence ({cost / 1e9:.4g} Gflops as the paper counts)"),
        ("classes", f"{config.num_classes}, {sum(map(bool, checkpoint.labels))} of them named"),
        ("null class", _null_class(checkpoint)),
        ("noise", f"{schedule.num_train_timesteps} steps, {betas}"),
        ("walked", f"{schedule.timestep_spacing} spacing, predicts {schedule.prediction_type}{_assumed(checkpoint)}"),
        ("guided channels", f"{checkpoint.guidance_channels} of {config.in_channels}"),
        ("autoencoder", _autoencoder(checkpoint)),
        *((("taken", checkpoint.taken),) if checkpoint.taken else ()),
        ("sha256", checkpoint.sha256),
        *(("weights", str(path)) for path in checkpoint.weights),
        *(("note", note) for note in checkpoint.notes),
    ]


def _null_class(checkpoint: Checkpoint) -> str:
    """The row that stands for no class, and whether that is known."""
    is_assumed = "null class" in checkpoint.assumed
    if not checkpoint.can_guide:
        return f"none{' (assumed)' if is_assumed else ''}: cfg 1 alone"
    row = f"row {checkpoint.config.num_classes} of the label table"
    return f"{row} (assumed: nothing says how many classes there are)" if is_assumed else row


def _assumed(checkpoint: Checkpoint) -> str:
    return " (assumed: nothing says it)" if "objective" in checkpoint.assumed else ""


def _autoencoder(checkpoint: Checkpoint) -> str:
    if isinstance(checkpoint.vae, str):
        return checkpoint.vae
    return "its own" if checkpoint.vae else "none: --vae names one"
