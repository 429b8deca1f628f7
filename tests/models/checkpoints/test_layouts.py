"""models/checkpoints/layouts.py: names and shapes against state dicts written elsewhere, by hand and by diffusers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from dit_serve.models.checkpoints.layouts import (
    Layout,
    check_tensors,
    depth_of,
    have_own_embedders,
    original_config,
    pieces,
    recognise,
    written,
)
from dit_serve.models.checkpoints.tensor_files import StoredTensor, read_headers
from dit_serve.models.checkpoints.unpickle import write_safetensors
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state, transformer
from tests.models.published import VARIANTS

TYPES = {torch.float32: "F32", torch.int64: "I64"}


def stored(state: dict[str, torch.Tensor]) -> dict[str, StoredTensor]:
    return {name: StoredTensor(Path("x"), name, tuple(t.shape), TYPES[t.dtype]) for name, t in state.items()}


@pytest.fixture
def found() -> dict[str, StoredTensor]:
    return stored(original_state(TINY))


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


@pytest.mark.parametrize(
    ("layout", "config"),
    [("original", TINY), ("diffusers", TINY), ("diffusers", replace(TINY, per_block_embedders=True))],
)
def test_pieces_cover_every_row_of_the_model_and_overlap_only_whole(layout: Layout, config: DiTConfig) -> None:
    with torch.device("meta"):
        rows = {name: tensor.shape[0] for name, tensor in DiT(config).state_dict().items()}
    if layout == "diffusers":
        del rows["pos_embed"]
    covered: dict[str, list[int]] = {name: [] for name in rows}
    for target, start, stop in {(piece.target, piece.start, piece.stop) for piece in pieces(layout, config)}:
        covered[target] += range(start, stop)
    assert {name: sorted(numbers) for name, numbers in covered.items()} == {n: list(range(c)) for n, c in rows.items()}


@pytest.mark.parametrize("layout", get_args(Layout))
def test_what_is_written_is_named_and_shaped_as_it_is_read(layout: Layout) -> None:
    state = {name: torch.randn(tensor.shape) for name, tensor in DiT(TINY).state_dict().items()}
    check_tensors(stored(written(layout, TINY, state)), pieces(layout, TINY), "x")


@pytest.mark.parametrize(
    "config", [TINY, replace(TINY, learn_sigma=False, mlp_ratio=2.5, patch_size=1, in_channels=16)]
)
def test_the_architecture_is_read_off_the_shapes(config: DiTConfig) -> None:
    assert original_config(stored(original_state(config)), config.num_heads, "x") == config


@pytest.mark.parametrize("name", VARIANTS)
def test_published_models_need_no_number_of_heads(name: str) -> None:
    config = replace(VARIANTS[name], depth=2, input_size=64, num_classes=3)
    assert original_config(stored(original_state(config)), None, "x") == config


def test_every_mlp_width_is_found_again() -> None:
    for mlp in range(1, 200):
        config = DiTConfig(input_size=2, hidden_size=12, depth=1, num_heads=1, num_classes=1, mlp_ratio=mlp / 12 + 1e-9)
        assert original_config(stored(original_state(config)), 1, "x").mlp_size == mlp


def test_unknown_heads_are_refused_with_a_way_to_give_them(found: dict[str, StoredTensor]) -> None:
    with pytest.raises(CheckpointError, match=r'width 48 is no published .* write \{"num_heads": N\} into a file'):
        original_config(found, None, "x")


def test_heads_that_do_not_fit_are_refused(found: dict[str, StoredTensor]) -> None:
    with pytest.raises(CheckpointError, match="must be a multiple of num_heads 7"):
        original_config(found, 7, "x")


def test_all_missing_tensors_are_named(found: dict[str, StoredTensor]) -> None:
    gone = ["pos_embed", "blocks.1.mlp.fc1.bias", "final_layer.linear.weight"]
    for name in gone:
        del found[name]
    with pytest.raises(CheckpointError) as caught:
        original_config(found, 4, "x.pt")
    assert "x.pt: not a whole DiT; 3 tensors missing: " + ", ".join(sorted(gone)) in str(caught.value)


def test_a_missing_block_is_named(found: dict[str, StoredTensor]) -> None:
    left = {name: tensor for name, tensor in found.items() if not name.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"10 tensors missing: blocks\.1\.adaLN_modulation\.1\.bias"):
        original_config(left, 4, "x")


def test_misshapen_unexpected_and_integer_tensors_are_named_together(found: dict[str, StoredTensor]) -> None:
    found["blocks.0.attn.qkv.weight"] = replace(found["blocks.0.attn.qkv.weight"], shape=(48, 48))
    found["blocks.2.mlp.fc2.bias"] = replace(found["blocks.2.mlp.fc2.bias"], shape=(49,), dtype="I8")
    found["blocks.0.lora.up"] = StoredTensor(Path("x"), "blocks.0.lora.up", (1,), "F32")
    with pytest.raises(CheckpointError) as caught:
        original_config(found, 4, "x")
    assert str(caught.value) == (
        "x: not a whole DiT; 1 tensors unexpected: blocks.0.lora.up; 2 tensors misshapen: "
        "blocks.0.attn.qkv.weight (48, 48) "
        "instead of (144, 48), blocks.2.mlp.fc2.bias (49,) instead of (48,); 1 tensors not of a float type: "
        "blocks.2.mlp.fc2.bias I8: download or export the weights again"
    )


@pytest.mark.parametrize("shape", [(48, 16), (0, 4, 2, 2), (48, 0, 2, 2), (48, 4, 0, 0), (48, 4, 2, 3)])
def test_shapes_that_fit_no_dit_are_refused(found: dict[str, StoredTensor], shape: tuple[int, ...]) -> None:
    found["x_embedder.proj.weight"] = replace(found["x_embedder.proj.weight"], shape=shape)
    with pytest.raises(CheckpointError):
        original_config(found, 4, "x")


def test_positions_of_no_square_are_refused(found: dict[str, StoredTensor]) -> None:
    found["pos_embed"] = replace(found["pos_embed"], shape=(1, 17, 48))
    with pytest.raises(CheckpointError, match=r"pos_embed \(1, 17, 48\) instead of \(1, 16, 48\)"):
        original_config(found, 4, "x")


def test_the_layout_is_recognised_by_names() -> None:
    assert recognise(stored(original_state(TINY)), "x") == "original"
    assert recognise(stored(dict(transformer(TINY).state_dict())), "x") == "diffusers"


@pytest.mark.parametrize("names", [(), ("encoder.conv_in.weight",), ("blocks.0.x", "transformer_blocks.0.x")])
def test_what_is_no_dit_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match=f"x: not a DiT's weights; its {len(names)} tensors are named"):
        recognise({name: StoredTensor(Path("x"), name, (1,), "F32") for name in names}, "x")


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
