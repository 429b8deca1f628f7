"""The architecture of a DiT in the original names, as the shapes of its tensors show it.

Heads are in no shape, and the side of the latent is in none where the positions are left out: these are given from
elsewhere, or refused with the way to give them. Knows no file.
"""

from __future__ import annotations

import math
from dataclasses import replace

from dit_serve.models.checkpoints.layouts import (
    LABEL_TABLE,
    PLAIN,
    POSITIONS,
    Found,
    check_tensors,
    depth_of,
    pieces_in,
)
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.registry import SIZES


def original_config(
    found: Found, num_heads: int | None, where: object, *, input_size: int | None = None
) -> DiTConfig:
    """Return the architecture that the shapes of an original file's tensors show; heads are not among them.

    Of the label table's rows the last one is taken for the null class.

    Args:
        num_heads: if known from elsewhere; otherwise the published models' for this width.
        input_size: side of the latent, for tensors without positions.

    Raises:
        CheckpointError: tensors are missing or unexpected, shapes contradict, or heads or size are unknown.
    """
    names = pieces_in(found, "original", DiTConfig(depth=depth_of(found)))
    if {piece.source for piece in names} - found.keys():
        known = [replace(piece, shape=found[piece.source].shape) for piece in names if piece.source in found]
        check_tensors(found, [*known, *(piece for piece in names if piece.source not in found)], where)
    width, channels, patch, _ = _shape(found, "x_embedder.proj.weight", "(D, C, p, p)", where)
    rows = label_rows(found, where)
    mlp, _ = _shape(found, "blocks.0.mlp.fc1.weight", "(M, D)", where)
    outputs, _ = _shape(found, "final_layer.linear.weight", "(p·p·out, D)", where)
    if num_heads is None:
        num_heads = _published_heads(width, where)
    try:
        config = DiTConfig(
            input_size=_latent_side(found, patch, input_size, where),
            patch_size=patch,
            in_channels=channels,
            hidden_size=width,
            depth=depth_of(found),
            num_heads=num_heads,
            mlp_ratio=_ratio(mlp, width),
            num_classes=max(1, rows - 1),
            has_null_class=rows > 1,
            learn_sigma=outputs != patch * patch * channels,
        )
    except (ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{where}: its shapes fit no DiT ({error}): {PLAIN}") from error
    check_tensors(found, pieces_in(found, "original", config), where)
    return config


def refuse_misshapen(found: Found, where: object) -> None:
    """Refuse an original file's tensors that are no DiT's whatever its heads are, and its latents' size.

    Raises:
        CheckpointError: tensors are missing or unexpected, or shapes contradict.
    """
    patches = found.get("x_embedder.proj.weight")
    patch = patches.shape[-1] if patches is not None and patches.shape else 1
    original_config(found, 1, where, input_size=patch)


def label_rows(found: Found, where: object) -> int:
    """Return the number of rows of an original file's label table.

    Raises:
        CheckpointError: it is no table.
    """
    return _shape(found, LABEL_TABLE, "(rows, D)", where)[0]


def _shape(found: Found, name: str, expected: str, where: object) -> tuple[int, ...]:
    shape = found[name].shape
    if len(shape) != expected.count(",") + 1:
        raise CheckpointError(f"{where}: 1 tensors misshapen: {name} {shape} instead of {expected}: {PLAIN}")
    return shape


def _latent_side(found: Found, patch: int, given: int | None, where: object) -> int:
    """The side of the latent: from the positions where they are stored, otherwise the one given."""
    if POSITIONS not in found and given is not None:
        return given
    if POSITIONS not in found:
        raise CheckpointError(
            f"{where}: has no pos_embed, which would tell the size of its latents: write "
            '{"input_size": N}, an image\'s side by 8, into a file of the same name that ends in .json'
        )
    return math.isqrt(_shape(found, POSITIONS, "(1, T, D)", where)[1]) * patch


def _published_heads(width: int, where: object) -> int:
    heads = {hidden: count for _, hidden, count in SIZES.values()}
    if width not in heads:
        raise CheckpointError(
            f"{where}: the number of attention heads is not in the weights, and width {width} is no published model's: "
            'write {"num_heads": N} into a file of the same name that ends in .json'
        )
    return heads[width]


def _ratio(mlp: int, width: int) -> float:
    """The ratio that leads back to exactly `mlp` when multiplied and rounded down, as DiTConfig does."""
    ratio = mlp / width
    return ratio if int(width * ratio) == mlp else math.nextafter(ratio, math.inf)
