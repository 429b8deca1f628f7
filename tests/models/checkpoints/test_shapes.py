"""models/checkpoints/shapes.py: the architecture that an original file's shapes show, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dit_serve.models.checkpoints.shapes import original_config
from dit_serve.models.checkpoints.tensor_files import StoredTensor
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state, stored
from tests.models.published import VARIANTS


@pytest.fixture
def found() -> dict[str, StoredTensor]:
    return stored(original_state(TINY))


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


def test_missing_tensors_are_counted_and_named(found: dict[str, StoredTensor]) -> None:
    gone = ["x_embedder.proj.bias", "blocks.1.mlp.fc1.bias", "final_layer.linear.weight"]
    for name in gone:
        del found[name]
    with pytest.raises(CheckpointError) as caught:
        original_config(found, 4, "x.pt")
    assert "x.pt: not a whole plain DiT; 3 tensors missing: " + ", ".join(sorted(gone)) in str(caught.value)


def test_a_missing_block_is_told_with_a_few_names(found: dict[str, StoredTensor]) -> None:
    left = {name: tensor for name, tensor in found.items() if not name.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"10 tensors missing: blocks\.1\.adaLN_modulation\.1\.bias, .*, …: give"):
        original_config(left, 4, "x")


def test_misshapen_unexpected_and_integer_tensors_are_named_together(found: dict[str, StoredTensor]) -> None:
    found["blocks.0.attn.qkv.weight"] = replace(found["blocks.0.attn.qkv.weight"], shape=(48, 48))
    found["blocks.2.mlp.fc2.bias"] = replace(found["blocks.2.mlp.fc2.bias"], shape=(49,), dtype="I8")
    found["blocks.0.extra"] = StoredTensor(Path("x"), "blocks.0.extra", (1,), "F32")
    with pytest.raises(CheckpointError) as caught:
        original_config(found, 4, "x")
    assert str(caught.value) == (
        "x: not a whole plain DiT; 1 tensors unexpected: blocks.0.extra; 2 tensors misshapen: "
        "blocks.0.attn.qkv.weight (48, 48) instead of (144, 48), blocks.2.mlp.fc2.bias (49,) instead of (48,); "
        "1 tensors not of a float type: blocks.2.mlp.fc2.bias I8: give the whole state dict of a plain DiT"
    )


def test_all_names_are_logged_for_who_wants_them(
    found: dict[str, StoredTensor], caplog: pytest.LogCaptureFixture
) -> None:
    left = {name: tensor for name, tensor in found.items() if not name.startswith("blocks.1.")}
    with caplog.at_level("DEBUG", "dit.models"), pytest.raises(CheckpointError):
        original_config(left, 4, "x")
    assert "blocks.1.mlp.fc2.weight" in caplog.text


@pytest.mark.parametrize("shape", [(48, 16), (0, 4, 2, 2), (48, 0, 2, 2), (48, 4, 0, 0), (48, 4, 2, 3)])
def test_shapes_that_fit_no_dit_are_refused(found: dict[str, StoredTensor], shape: tuple[int, ...]) -> None:
    found["x_embedder.proj.weight"] = replace(found["x_embedder.proj.weight"], shape=shape)
    with pytest.raises(CheckpointError):
        original_config(found, 4, "x")


def test_positions_of_no_square_are_refused(found: dict[str, StoredTensor]) -> None:
    found["pos_embed"] = replace(found["pos_embed"], shape=(1, 17, 48))
    with pytest.raises(CheckpointError, match=r"pos_embed \(1, 17, 48\) instead of \(1, 16, 48\)"):
        original_config(found, 4, "x")


def test_positions_that_are_not_stored_need_the_size(found: dict[str, StoredTensor]) -> None:
    del found["pos_embed"]
    assert original_config(found, 4, "x", input_size=8) == TINY
    with pytest.raises(CheckpointError, match=r'has no pos_embed, .* write \{"input_size": N\}'):
        original_config(found, 4, "x")
    with pytest.raises(CheckpointError, match="input_size 7 must be a multiple of patch_size 2"):
        original_config(found, 4, "x", input_size=7)


def test_a_label_table_of_one_row_is_one_class(found: dict[str, StoredTensor]) -> None:
    name = "y_embedder.embedding_table.weight"
    found[name] = replace(found[name], shape=(1, 48))
    assert original_config(found, 4, "x") == replace(TINY, num_classes=1, has_null_class=False)
    found[name] = replace(found[name], shape=(48,))
    with pytest.raises(CheckpointError, match=r"misshapen: y_embedder\.embedding_table\.weight \(48,\)"):
        original_config(found, 4, "x")
