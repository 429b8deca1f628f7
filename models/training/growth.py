"""Saved training runs as first weights of a new one: the same network, or one for latents of a larger side.

A model for twice the side and twice the patch has the same tokens, so all of a coarser model but its first and last
layer fits as it is. Knows the tensors of models/dit.py; the training loop is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import listed


def load_state(path: Path) -> dict[str, Any]:
    """What a run saved, on the CPU: nothing but tensors, numbers and names is read.

    Raises:
        ValueError: there is no such file.
    """
    if not path.exists():
        raise ValueError(f"no saved run at {path}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def refuse_another_architecture(path: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Nothing, where a saved run's network is the one that is to go on.

    Raises:
        ValueError: it differs, with the entries that do.
    """
    if other := [f"{name} {before[name]}, not {now[name]}" for name in now if before[name] != now[name]]:
        told = listed(other, 120)
        raise ValueError(f"{path} is of another architecture ({told}): remove it or choose another out")


def grown(state: dict[str, Any], config: DiTConfig) -> dict[str, torch.Tensor]:
    """The average of a run as first weights for `config`, whose patch and side may be f times as large.

    A patch has f² times as many latents; each square of f x f is read as its sum divided by f, which keeps the noise's
    variance, and each of its latents is given the f-th part of the noise predicted. So the new network begins by doing
    what the old one did.

    Raises:
        ValueError: the run was of a shape that differs in more than this.
    """
    before = DiTConfig(**state["architecture"])
    factor = max(1, config.patch_size // before.patch_size)
    if config != replace(before, patch_size=before.patch_size * factor, input_size=before.input_size * factor):
        raise ValueError(f"a run of {before} cannot grow into {config}")
    width, patch, out = config.hidden_size, before.patch_size, config.out_channels
    ema: dict[str, torch.Tensor] = state["ema"]
    patch_embed = _spread(ema["patch_embed.weight"].view(width, config.in_channels, patch, patch), 2, factor)
    weight = _spread(ema["final.weight"].view(patch, patch, out, width), 0, factor)
    bias = _spread(ema["final.bias"].view(patch, patch, out), 0, factor)
    return ema | {
        "patch_embed.weight": patch_embed.flatten(1),
        "final.weight": weight.flatten(0, 2),
        "final.bias": bias.flatten(),
    }


def _spread(tensor: torch.Tensor, dim: int, factor: int) -> torch.Tensor:
    """Each entry of the square at `dim`, `dim + 1` as factor x factor entries of the factor-th part."""
    return tensor.repeat_interleave(factor, dim).repeat_interleave(factor, dim + 1) / factor
