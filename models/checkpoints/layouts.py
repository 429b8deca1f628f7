"""The two published ways to write a DiT's weights, and our own, as a map onto ours: which stored tensor is which rows.

    original    x_embedder, t_embedder, y_embedder, pos_embed, blocks.N, final_layer
                one embedder of t and y for all blocks; positions are stored
    diffusers   pos_embed.proj, transformer_blocks.N, proj_out_1, proj_out_2
                an embedder in every block, where ours may have one for all; positions are computed
    dit-serve   patch_embed, embedder, modulation, blocks.N, final
                for blocks that the others have no names for: our network's own; positions are computed

A layout is a list of `Piece`s, one for each stored tensor. The same list says what must be there, with which shape
(`check_tensors`), how it is loaded (weights.py) and how it is written (`written`). Knows nothing of folders, configs
and hubs; what architecture the shapes of an original file show is shapes.py's.

References: "Scalable Diffusion Models with Transformers" (arXiv 2212.09748) and the published checkpoints' own names;
diffusers' DiTTransformer2DModel.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from dit_serve.models.checkpoints.relatives import Shaped, few, relative
from dit_serve.models.checkpoints.tensor_files import FLOAT_TYPES, StoredTensor, read_tensor
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.tokens import FREQUENCIES

Layout = Literal["original", "diffusers", "dit-serve"]
Found = Mapping[str, StoredTensor]

POSITIONS = "pos_embed"  # of the original layout, where a file may leave them out: they are computed
LABEL_TABLE = "y_embedder.embedding_table.weight"
_OWN_NAMES = {"patch_embed.weight", "embedder.label_table"}  # are in every file of our own, and in no other
TRAINING_ONLY = ("projectors.",)  # REPA's: they meet another network's features in training, and no sampler needs them
PLAIN = "give the whole state dict of a plain DiT"
_BLOCK = re.compile(r"(?:transformer_)?blocks\.(0|[1-9]\d{0,2})\.")  # below 1000: no name makes us list more
_NORM = ("weight", "bias")
_MOST, _LEAST = 299, 80  # characters of a message, and of it for names of tensors, however long its file's is


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored tensor and the rows of ours that hold the same numbers: target[start:stop], reshaped."""

    source: str
    shape: tuple[int, ...]
    target: str
    start: int
    stop: int


def recognise(found: Mapping[str, Shaped], where: object) -> Layout:
    """Return the layout that the names of stored tensors belong to.

    Raises:
        CheckpointError: they are not a plain DiT's; the message says what they are, where that can be told.
    """
    if _OWN_NAMES <= found.keys():
        return "dit-serve"
    if kin := relative(found):
        raise CheckpointError(f"{where}: {kin}")
    is_original = any(name.startswith(("x_embedder.", "blocks.", "final_layer.")) for name in found)
    is_diffusers = any(name.startswith(("transformer_blocks.", "proj_out_1.")) for name in found)
    if is_original != is_diffusers:
        return "original" if is_original else "diffusers"
    raise CheckpointError(
        f"{where}: not a DiT's weights; its {len(found)} tensors are named {few(sorted(found)) or 'nothing'}: "
        "choose another file"
    )


def pieces(layout: Layout, config: DiTConfig) -> list[Piece]:
    """Return every tensor that a file of this layout and architecture holds.

    Where our model has one embedder for all blocks, the embedders of all blocks in diffusers' layout are its rows.
    """
    listing = {"original": _original, "diffusers": _diffusers, "dit-serve": _own}
    return listing[layout](config)


def written(layout: Layout, config: DiTConfig, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a DiT's state dict under the names and in the shapes of a layout, every tensor with memory of its own."""
    return {
        piece.source: state[piece.target][piece.start : piece.stop].detach().reshape(piece.shape).clone()
        for piece in pieces(layout, config)
    }


def pieces_in(found: Found, layout: Layout, config: DiTConfig) -> list[Piece]:
    """Return the tensors that these stored ones must be: `pieces`, less the positions where those are not stored."""
    listed = pieces(layout, config)
    return listed if layout != "original" or POSITIONS in found else [p for p in listed if p.source != POSITIONS]


def check_tensors(found: Found, expected: Iterable[Piece], where: object) -> None:
    """Refuse stored tensors that are not exactly those expected; what only training needs may be beside them.

    Raises:
        CheckpointError: tensors are missing, unexpected, misshapen or hold no floating-point numbers: how many, and
            some names; all names are logged at the level debug.
    """
    shapes = {piece.source: piece.shape for piece in expected}
    both = sorted(shapes.keys() & found.keys())
    groups = {
        "missing": sorted(shapes.keys() - found.keys()),
        "unexpected": sorted(name for name in found.keys() - shapes.keys() if not name.startswith(TRAINING_ONLY)),
        "misshapen": [
            f"{name} {found[name].shape} instead of {shapes[name]}"
            for name in both
            if found[name].shape != shapes[name]
        ],
        "not of a float type": [f"{name} {found[name].dtype}" for name in both if found[name].dtype not in FLOAT_TYPES],
    }
    if any(groups.values()):
        logging.getLogger("dit.models").debug("%s: %s", where, {kind: names for kind, names in groups.items() if names})
        begin, end = f"{where}: not a whole plain DiT; ", f": {PLAIN}"
        raise CheckpointError(f"{begin}{_grouped(groups, max(_LEAST, _MOST - len(begin + end)))}{end}")


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
    t_in, table = (width, 2 * FREQUENCIES), (config.label_rows, width)
    result = [
        Piece(POSITIONS, (1, config.tokens, width), "pos_embed", 0, config.tokens),
        Piece("x_embedder.proj.weight", (width, config.in_channels, patch, patch), "patch_embed.weight", 0, width),
        Piece("x_embedder.proj.bias", (width,), "patch_embed.bias", 0, width),
        Piece("t_embedder.mlp.0.weight", t_in, "embedder.t_in_weight", 0, 1),
        Piece("t_embedder.mlp.0.bias", (width,), "embedder.t_in_bias", 0, 1),
        Piece("t_embedder.mlp.2.weight", (width, width), "embedder.t_out_weight", 0, 1),
        Piece("t_embedder.mlp.2.bias", (width,), "embedder.t_out_bias", 0, 1),
        Piece(LABEL_TABLE, table, "embedder.label_table", 0, 1),
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
    table = (config.label_rows, width)
    return [
        Piece(f"{time}.linear_1.weight", (width, 2 * FREQUENCIES), "embedder.t_in_weight", e, e + 1),
        Piece(f"{time}.linear_1.bias", (width,), "embedder.t_in_bias", e, e + 1),
        Piece(f"{time}.linear_2.weight", (width, width), "embedder.t_out_weight", e, e + 1),
        Piece(f"{time}.linear_2.bias", (width,), "embedder.t_out_bias", e, e + 1),
        Piece(f"{source}.class_embedder.embedding_table.weight", table, "embedder.label_table", e, e + 1),
    ]


def _own(config: DiTConfig) -> list[Piece]:
    """Every tensor of models/dit.py under its own name, but for the positions."""
    width, mlp, patch = config.hidden_size, config.mlp_size, config.patch_size**2
    layers = {"patch_embed": (width, config.in_channels * patch), "final": (patch * config.out_channels, width)}
    norms = [] if config.has_adaptive_norms else ["final_norm"]
    if config.modulation_outputs:
        layers["modulation"] = (config.modulation_outputs, width)
    for block in (f"blocks.{i}" for i in range(config.depth)):
        layers |= {f"{block}.qkv": (3 * width, width), f"{block}.proj": (width, width)}
        layers |= {f"{block}.fc1": (mlp, width), f"{block}.fc2": (width, mlp)}
        if config.conditioning == "cross-attention":
            layers |= dict.fromkeys((f"{block}.cross_query", f"{block}.cross_proj"), (width, width))
            norms.append(f"{block}.cross_norm")
        if not config.has_adaptive_norms:
            norms += [f"{block}.attention_norm", f"{block}.mlp_norm"]
    embedder = {
        "t_in_weight": (width, 2 * FREQUENCIES), "t_in_bias": (width,),
        "t_out_weight": (width, width), "t_out_bias": (width,), "label_table": (config.label_rows, width),
    }  # fmt: skip
    count = config.depth if config.per_block_embedders else 1
    return [
        *(piece for name, (rows, columns) in layers.items() for piece in _linear(name, name, rows, columns)),
        *(Piece(f"{name}.{kind}", (width,), f"{name}.{kind}", 0, width) for name in norms for kind in _NORM),
        *(Piece(f"embedder.{n}", (count, *shape), f"embedder.{n}", 0, count) for n, shape in embedder.items()),
    ]


def _linear(source: str, target: str, rows: int, columns: int, start: int = 0) -> list[Piece]:
    """Weight (rows, columns) and bias (rows,) of one linear layer, into rows `start` and on of another."""
    return [
        Piece(f"{source}.weight", (rows, columns), f"{target}.weight", start, start + rows),
        Piece(f"{source}.bias", (rows,), f"{target}.bias", start, start + rows),
    ]


def _grouped(groups: Mapping[str, list[str]], room: int) -> str:
    """How many tensors each group has and some of their names, as many as there is room for."""
    told = {kind: names for kind, names in groups.items() if names}
    texts = [
        "; ".join(f"{len(names)} tensors {kind}: {few(names, count, length)}" for kind, names in told.items())
        for count, length in ((3, 100), (2, 100), (1, 100), (1, 60))
    ]
    return next((text for text in texts if len(text) <= room), f"{texts[-1][: room - 1]}…")
