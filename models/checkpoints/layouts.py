"""The two published ways to write a DiT's weights, as a map onto ours: which stored tensor is which rows.

    original    x_embedder, t_embedder, y_embedder, pos_embed, blocks.N, final_layer
                one embedder of t and y for all blocks; positions are stored
    diffusers   pos_embed.proj, transformer_blocks.N, proj_out_1, proj_out_2
                an embedder in every block, where ours may have one for all; positions are computed

A layout is a list of `Piece`s, one for each stored tensor. The same list says what must be there, with which shape
(`check_tensors`), how it is loaded (weights.py) and how it is written (`written`). Knows nothing of folders, configs
and hubs.

References: "Scalable Diffusion Models with Transformers" (arXiv 2212.09748) and the published checkpoints' own names;
diffusers' DiTTransformer2DModel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from dit_serve.models.checkpoints.tensor_files import FLOAT_TYPES, StoredTensor, read_tensor
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.registry import SIZES
from dit_serve.models.tokens import FREQUENCIES

Layout = Literal["original", "diffusers"]
Found = Mapping[str, StoredTensor]

_BLOCK = re.compile(r"(?:transformer_)?blocks\.(0|[1-9]\d{0,2})\.")  # below 1000: no name makes us list more
_MAX_LISTED = 4000  # names in one message; an XL/2 in diffusers' layout has 622 tensors


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored tensor and the rows of ours that hold the same numbers: target[start:stop], reshaped."""

    source: str
    shape: tuple[int, ...]
    target: str
    start: int
    stop: int


def recognise(found: Found, where: object) -> Layout:
    """Return the layout that the names of stored tensors belong to.

    Raises:
        CheckpointError: they are not a DiT's.
    """
    is_original = any(name.startswith(("x_embedder.", "blocks.", "final_layer.")) for name in found)
    is_diffusers = any(name.startswith(("transformer_blocks.", "proj_out_1.")) for name in found)
    if is_original != is_diffusers:
        return "original" if is_original else "diffusers"
    some = ", ".join(sorted(found)[:5]) or "none"
    raise CheckpointError(
        f"{where}: not a DiT's weights; its {len(found)} tensors are named {some}...: choose another file"
    )


def pieces(layout: Layout, config: DiTConfig) -> list[Piece]:
    """Return every tensor that a file of this layout and architecture holds.

    Where our model has one embedder for all blocks, the embedders of all blocks in diffusers' layout are its rows.
    """
    return _original(config) if layout == "original" else _diffusers(config)


def written(layout: Layout, config: DiTConfig, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a DiT's state dict under the names and in the shapes of a layout, every tensor with memory of its own."""
    return {
        piece.source: state[piece.target][piece.start : piece.stop].detach().reshape(piece.shape).clone()
        for piece in pieces(layout, config)
    }


def check_tensors(found: Found, expected: Iterable[Piece], where: object) -> None:
    """Refuse stored tensors that are not exactly those expected.

    Raises:
        CheckpointError: names every tensor that is missing, unexpected, misshapen or holds no floating-point numbers.
    """
    shapes = {piece.source: piece.shape for piece in expected}
    both = sorted(shapes.keys() & found.keys())
    groups = {
        "missing": sorted(shapes.keys() - found.keys()),
        "unexpected": sorted(found.keys() - shapes.keys()),
        "misshapen": [
            f"{name} {found[name].shape} instead of {shapes[name]}"
            for name in both
            if found[name].shape != shapes[name]
        ],
        "not of a float type": [f"{name} {found[name].dtype}" for name in both if found[name].dtype not in FLOAT_TYPES],
    }
    if any(groups.values()):
        raise CheckpointError(f"{where}: not a whole DiT; {_grouped(groups)}: download or export the weights again")


def original_config(found: Found, num_heads: int | None, where: object) -> DiTConfig:
    """Return the architecture that the shapes of an original file's tensors show; heads are not among them.

    Args:
        num_heads: if known from elsewhere; otherwise the published models' for this width.

    Raises:
        CheckpointError: tensors are missing or unexpected (all named), shapes contradict, or the heads are unknown.
    """
    depth = depth_of(found)
    _check_names(found, _original(DiTConfig(depth=depth)), where)
    width, channels, patch, _ = _shape(found, "x_embedder.proj.weight", "(D, C, p, p)", where)
    _, tokens, _ = _shape(found, "pos_embed", "(1, T, D)", where)
    rows, _ = _shape(found, "y_embedder.embedding_table.weight", "(classes + 1, D)", where)
    mlp, _ = _shape(found, "blocks.0.mlp.fc1.weight", "(M, D)", where)
    outputs, _ = _shape(found, "final_layer.linear.weight", "(p·p·out, D)", where)
    if num_heads is None:
        num_heads = _published_heads(width, where)
    try:
        config = DiTConfig(
            input_size=math.isqrt(tokens) * patch,
            patch_size=patch,
            in_channels=channels,
            hidden_size=width,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=_ratio(mlp, width),
            num_classes=rows - 1,
            learn_sigma=outputs != patch * patch * channels,
        )
    except (ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"{where}: its shapes fit no DiT ({error}): download or export the weights again"
        ) from error
    check_tensors(found, _original(config), where)
    return config


def depth_of(found: Found) -> int:
    """Return the number of blocks that the names speak of, at least 1."""
    return 1 + max((int(match[1]) for name in found if (match := _BLOCK.match(name))), default=0)


def have_own_embedders(found: Found, config: DiTConfig) -> bool:
    """Whether the blocks of a diffusers file embed t and y differently; two tensors are in memory at a time.

    The tensors must have passed check_tensors.
    """
    own = replace(config, per_block_embedders=True)
    embedders = [piece for piece in _diffusers(own) if piece.target.startswith("embedder.")]
    first = {piece.target: piece.source for piece in embedders if piece.start == 0}
    return any(
        not torch.equal(read_tensor(found[first[piece.target]]).float(), read_tensor(found[piece.source]).float())
        for piece in embedders
        if piece.start > 0
    )


def _original(config: DiTConfig) -> list[Piece]:
    width, patch, vectors = config.hidden_size, config.patch_size, config.modulation_vectors
    t_in, table = (width, 2 * FREQUENCIES), (config.num_classes + 1, width)
    result = [
        Piece("pos_embed", (1, config.tokens, width), "pos_embed", 0, config.tokens),
        Piece("x_embedder.proj.weight", (width, config.in_channels, patch, patch), "patch_embed.weight", 0, width),
        Piece("x_embedder.proj.bias", (width,), "patch_embed.bias", 0, width),
        Piece("t_embedder.mlp.0.weight", t_in, "embedder.t_in_weight", 0, 1),
        Piece("t_embedder.mlp.0.bias", (width,), "embedder.t_in_bias", 0, 1),
        Piece("t_embedder.mlp.2.weight", (width, width), "embedder.t_out_weight", 0, 1),
        Piece("t_embedder.mlp.2.bias", (width,), "embedder.t_out_bias", 0, 1),
        Piece("y_embedder.embedding_table.weight", table, "embedder.label_table", 0, 1),
        *_linear("final_layer.linear", "final", config.patch_size**2 * config.out_channels, width),
        *_linear("final_layer.adaLN_modulation.1", "modulation", 2 * width, width, (vectors - 2) * width),
    ]
    for i in range(config.depth):
        block = f"blocks.{i}"
        result += [
            *_linear(f"{block}.attn.qkv", f"{block}.qkv", 3 * width, width),
            *_linear(f"{block}.attn.proj", f"{block}.proj", width, width),
            *_linear(f"{block}.mlp.fc1", f"{block}.fc1", config.mlp_size, width),
            *_linear(f"{block}.mlp.fc2", f"{block}.fc2", width, config.mlp_size),
            *_linear(f"{block}.adaLN_modulation.1", "modulation", 6 * width, width, 6 * i * width),
        ]
    return result


def _diffusers(config: DiTConfig) -> list[Piece]:
    width, patch, vectors = config.hidden_size, config.patch_size, config.modulation_vectors
    result = [
        Piece("pos_embed.proj.weight", (width, config.in_channels, patch, patch), "patch_embed.weight", 0, width),
        Piece("pos_embed.proj.bias", (width,), "patch_embed.bias", 0, width),
        *_linear("proj_out_1", "modulation", 2 * width, width, (vectors - 2) * width),
        *_linear("proj_out_2", "final", patch**2 * config.out_channels, width),
    ]
    for i in range(config.depth):
        block, theirs = f"blocks.{i}", f"transformer_blocks.{i}"
        result += [
            *_diffusers_embedder(f"{theirs}.norm1.emb", i if config.per_block_embedders else 0, config),
            *_linear(f"{theirs}.norm1.linear", "modulation", 6 * width, width, 6 * i * width),
            *_linear(f"{theirs}.attn1.to_q", f"{block}.qkv", width, width, 0),
            *_linear(f"{theirs}.attn1.to_k", f"{block}.qkv", width, width, width),
            *_linear(f"{theirs}.attn1.to_v", f"{block}.qkv", width, width, 2 * width),
            *_linear(f"{theirs}.attn1.to_out.0", f"{block}.proj", width, width),
            *_linear(f"{theirs}.ff.net.0.proj", f"{block}.fc1", config.mlp_size, width),
            *_linear(f"{theirs}.ff.net.2", f"{block}.fc2", width, config.mlp_size),
        ]
    return result


def _diffusers_embedder(source: str, e: int, config: DiTConfig) -> list[Piece]:
    """The embedder of one block, which is embedder e of ours."""
    width, time = config.hidden_size, f"{source}.timestep_embedder"
    table = (config.num_classes + 1, width)
    return [
        Piece(f"{time}.linear_1.weight", (width, 2 * FREQUENCIES), "embedder.t_in_weight", e, e + 1),
        Piece(f"{time}.linear_1.bias", (width,), "embedder.t_in_bias", e, e + 1),
        Piece(f"{time}.linear_2.weight", (width, width), "embedder.t_out_weight", e, e + 1),
        Piece(f"{time}.linear_2.bias", (width,), "embedder.t_out_bias", e, e + 1),
        Piece(f"{source}.class_embedder.embedding_table.weight", table, "embedder.label_table", e, e + 1),
    ]


def _linear(source: str, target: str, rows: int, columns: int, start: int = 0) -> list[Piece]:
    """Weight (rows, columns) and bias (rows,) of one linear layer, into rows `start` and on of another."""
    return [
        Piece(f"{source}.weight", (rows, columns), f"{target}.weight", start, start + rows),
        Piece(f"{source}.bias", (rows,), f"{target}.bias", start, start + rows),
    ]


def _check_names(found: Found, expected: Iterable[Piece], where: object) -> None:
    """The part of check_tensors that needs no shapes, for when a tensor is missing that would tell them."""
    names = {piece.source for piece in expected}
    groups = {"missing": sorted(names - found.keys()), "unexpected": sorted(found.keys() - names)}
    if groups["missing"]:
        raise CheckpointError(f"{where}: not a whole DiT; {_grouped(groups)}: download or export the weights again")


def _grouped(groups: Mapping[str, list[str]]) -> str:
    return "; ".join(
        f"{len(names)} tensors {kind}: {', '.join(names[:_MAX_LISTED])}" for kind, names in groups.items() if names
    )


def _shape(found: Found, name: str, expected: str, where: object) -> tuple[int, ...]:
    shape = found[name].shape
    if len(shape) != expected.count(",") + 1:
        raise CheckpointError(f"{where}: 1 tensors misshapen: {name} {shape} instead of {expected}: download it again")
    return shape


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
