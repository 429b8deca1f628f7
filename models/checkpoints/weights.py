"""Fills a DiT with a checkpoint's tensors: mapped, checked and converted one at a time.

A model is built without memory, gets empty tensors in the wanted number format, and each stored tensor is written
into its rows: so at most the model itself and one stored tensor are in memory. Knows no folder, and of a layout only
the list in layouts.py.
"""

from __future__ import annotations

import logging
import math

import torch

from dit_serve.models.checkpoints.checkpoint import Checkpoint
from dit_serve.models.checkpoints.components.transformer_config import without_positions
from dit_serve.models.checkpoints.layouts import Found, check_tensors, pieces_in
from dit_serve.models.checkpoints.tensor_files import read_tensor
from dit_serve.models.checkpoints.wrappers import read_selected
from dit_serve.models.dit import DiT
from dit_serve.models.errors import CheckpointError, listed, printable

logger = logging.getLogger("dit.models")


def load_dit(checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> DiT:
    """Return the checkpoint's DiT on `device`, its weights in `dtype` but for those that DiT keeps in float32.

    Raises:
        CheckpointError: a file changed since it was opened, or weights are NaN, infinite or too large for dtype (all
            are named).
    """
    config = checkpoint.config
    if checkpoint.taken:
        logger.info("%s: %s", printable(checkpoint.name), checkpoint.taken)
    found: Found = read_selected(checkpoint.weights, checkpoint.which or None, checkpoint.source).found
    if checkpoint.layout == "diffusers":
        found = without_positions(found, config, checkpoint.source)
    expected = pieces_in(found, checkpoint.layout, config)
    check_tensors(found, expected, checkpoint.source)
    with torch.device("meta"):
        model = DiT(config)
    targets = {
        name: tensor.to(device, torch.float32, copy=True)  # the positions, which not every file stores
        if not tensor.is_meta
        else torch.empty(tensor.shape, dtype=model.parameter_dtype(name, dtype), device=device)
        for name, tensor in model.state_dict().items()
    }
    once = {(piece.target, piece.start): piece for piece in expected}  # of equal embedders, the last block's
    filled = (_fill(targets[piece.target][piece.start : piece.stop], found, piece.source) for piece in once.values())
    problems = [problem for problem in filled if problem]
    if problems:
        raise CheckpointError(
            f"{checkpoint.source}: {len(problems)} tensors unusable: {listed(problems)}: train or export it again"
        )
    model.load_state_dict(targets, assign=True)
    return model


def _fill(rows: torch.Tensor, found: Found, name: str) -> str | None:
    """Write a stored tensor into rows of ours, reshaped and converted; return what is wrong with it, if anything."""
    stored = read_tensor(found[name])
    low, high = (bound.item() for bound in stored.aminmax())  # NaN if any number is
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{name} holds NaN or infinity"
    if max(-low, high) > torch.finfo(rows.dtype).max:
        return f"{name} reaches {max(-low, high):g}, too large for {str(rows.dtype).removeprefix('torch.')}"
    rows.copy_(stored.reshape(rows.shape))
    return None
