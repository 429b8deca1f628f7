"""models/checkpoints/layouts.py: names and shapes against state dicts written elsewhere, by hand and by diffusers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from dit_serve.models.architecture import CONDITIONED, Conditioned
from dit_serve.models.checkpoints.layouts import (
    LABEL_TABLE,
    Layout,
    check_tensors,
    depth_of,
    have_own_embedders,
    pieces,
    pieces_in,
    recognise,
    written,
)
from dit_serve.models.checkpoints.pickles.unpickle import write_safetensors
from dit_serve.models.checkpoints.tensor_files import StoredTensor, read_headers
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state, stored, transformer


@pytest.mark.parametrize("learn_sigma", [True, False])
@pytest.mark.parametrize("depth", [1, 12])
def test_original_pieces_are_the_tensors_of_the_original_code(depth: int, learn_sigma: bool) -> None:
    config = replace(TINY, depth=depth, learn_sigma=learn_sigma, mlp_ratio=3.0, patch_size=4)
    shapes = {piece.source: piece.shape for piece in pieces("original", config)}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in original_state(config).items()}


@pytest.mark.parametrize("learn_sigma", [True, False])
def test_diffusers_pieces_are_the_tensors_of_its_model(learn_sigma: bool) -> None:
    config = replace(TINY, learn_sigma=learn_sigma, in_channels=3)
    shapes = {piece.source: piece.shape for piece in pieces("diffusers", config)}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in transformer(config).state_dict().items()}


@pytest.mark.parametrize("learn_sigma", [True, False])
@pytest.mark.parametrize("conditioning", CONDITIONED)
def test_our_own_pieces_are_the_tensors_of_our_model(conditioning: Conditioned, learn_sigma: bool) -> None:
    config = replace(TINY, learn_sigma=learn_sigma, mlp_ratio=3.0, in_channels=3, conditioning=conditioning)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in DiT(config).state_dict().items()}
    del expected["pos_embed"]  # computed
    assert {piece.source: piece.shape for piece in pieces("dit-serve", config)} == expected


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("original", TINY),
        ("diffusers", TINY),
        ("diffusers", replace(TINY, per_block_embedders=True)),
        *(("dit-serve", replace(TINY, conditioning=each)) for each in CONDITIONED),
        ("dit-serve", replace(TINY, per_block_embedders=True)),
    ],
)
def test_pieces_cover_every_row_of_the_model_and_overlap_only_whole(layout: Layout, config: DiTConfig) -> None:
    with torch.device("meta"):
        rows = {name: tensor.shape[0] for name, tensor in DiT(config).state_dict().items()}
    if layout != "original":
        del rows["pos_embed"]
    covered: dict[str, list[int]] = {name: [] for name in rows}
    for target, start, stop in {(piece.target, piece.start, piece.stop) for piece in pieces(layout, config)}:
        covered[target] += range(start, stop)
    assert {name: sorted(numbers) for name, numbers in covered.items()} == {n: list(range(c)) for n, c in rows.items()}


@pytest.mark.parametrize("layout", get_args(Layout))
def test_what_is_written_is_named_and_shaped_as_it_is_read(layout: Layout) -> None:
    state = {name: torch.randn(tensor.shape) for name, tensor in DiT(TINY).state_dict().items()}
    check_tensors(stored(written(layout, TINY, state)), pieces(layout, TINY), "x")


def test_the_layout_is_recognised_by_names() -> None:
    assert recognise(stored(original_state(TINY)), "x") == "original"
    assert recognise(stored(dict(transformer(TINY).state_dict())), "x") == "diffusers"
    for conditioning in CONDITIONED:
        model = DiT(replace(TINY, conditioning=conditioning))
        assert recognise(stored(model.state_dict()), "x") == "dit-serve"


@pytest.mark.parametrize("names", [(), ("fc.weight",), ("blocks.0.x", "transformer_blocks.0.x")])
def test_what_is_no_dit_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match=f"x: not a DiT's weights; its {len(names)} tensors are named"):
        recognise({name: StoredTensor(Path("x"), name, (1,), "F32") for name in names}, "x")


def test_a_table_without_a_null_class_has_a_row_less_in_both_layouts() -> None:
    for layout, name in (("original", LABEL_TABLE), ("diffusers", "transformer_blocks.0.norm1.emb.class_embedder")):
        [first, *_] = [p for p in pieces(layout, replace(TINY, has_null_class=False)) if p.source.startswith(name)]
        assert first.shape == (10, 48)


def test_positions_and_what_only_training_needs_may_be_missing_or_there() -> None:
    found = stored(original_state(TINY) | {"projectors.0.0.weight": torch.zeros(4, 4)})
    check_tensors(found, pieces_in(found, "original", TINY), "x")
    del found["pos_embed"]
    check_tensors(found, pieces_in(found, "original", TINY), "x")


def test_a_huge_block_number_makes_no_huge_list() -> None:
    assert depth_of({"blocks.999999999999.attn.qkv.bias": StoredTensor(Path("x"), "x", (1,), "F32")}) == 1


def test_tensors_that_are_as_expected_pass() -> None:
    check_tensors(stored(dict(transformer(TINY).state_dict())), pieces("diffusers", TINY), "x")


@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("name", ["timestep_embedder.linear_2.bias", "class_embedder.embedding_table.weight"])
def test_one_number_makes_embedders_differ(tmp_path: Path, block: int, name: str) -> None:
    state = dict(transformer(TINY).state_dict())
    assert not have_own_embedders(saved(tmp_path / "same", state), TINY)
    changed = state[f"transformer_blocks.{block}.norm1.emb.{name}"].clone()
    changed.view(-1)[-1] += 1
    state[f"transformer_blocks.{block}.norm1.emb.{name}"] = changed
    assert have_own_embedders(saved(tmp_path / "differing", state), TINY)


def saved(path: Path, state: dict[str, torch.Tensor]) -> dict[str, StoredTensor]:
    with path.open("wb") as file:
        write_safetensors(file, state, {})
    return read_headers([path])
