"""models/checkpoints/components/transformer_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.components.transformer_config import read_transformer_config
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.tokens import sincos_positions
from tests.models.checkpoints.components.configs import PUBLISHED, TRANSFORMER, write
from tests.models.checkpoints.written import TINY, edit_json, transformer

WEIGHTS = "diffusion_pytorch_model.safetensors"
def test_the_published_config_is_dit_xl_2(tmp_path: Path) -> None:
    found = read_transformer_config(write(tmp_path / "config.json", PUBLISHED))
    assert found == DiTConfig(input_size=64, frequency_shift=1.0, mlp_norm_eps=1e-5)


def test_what_a_config_leaves_out_is_as_diffusers_assumes_it(tmp_path: Path) -> None:
    found = read_transformer_config(write(tmp_path / "config.json", TRANSFORMER))
    assert found == DiTConfig(frequency_shift=1.0, mlp_norm_eps=1e-5)


def test_out_channels_decide_whether_sigma_is_learned(tmp_path: Path) -> None:
    for given_channels, learns in ((None, False), (4, False), (8, True)):
        config = write(tmp_path / "config.json", TRANSFORMER | {"out_channels": given_channels})
        assert read_transformer_config(config).learn_sigma is learns
    with pytest.raises(CheckpointError, match="out_channels 5 is neither in_channels 4 nor twice that"):
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | {"out_channels": 5}))


def test_every_setting_that_cannot_be_honoured_is_named(tmp_path: Path) -> None:
    wrong = {"norm_type": "layer_norm", "activation_fn": "geglu", "attention_bias": False, "mystery": 1, "norm_eps": 0}
    wrong |= {"cross_attention_dim": 768, "num_layers": -1, "sample_size": True, "patch_size": "2", "in_channels": 4.0}
    path = write(tmp_path / "config.json", TRANSFORMER | wrong)
    with pytest.raises(CheckpointError) as caught:
        read_transformer_config(path)
    assert str(caught.value).startswith(f"{path}: settings that cannot be honoured: activation_fn, ")
    assert all(name in str(caught.value) for name in wrong)
    assert len(str(caught.value)) - len(str(path)) < 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config={'quant_method': "),
        ({"norm_eps": float("inf")}, "norm_eps=inf"),
        ({"sample_size": float("nan")}, "sample_size=nan"),
        ({"attention_bias": float("-inf")}, "attention_bias=-inf"),
        ({"qk_norm": "rms_norm"}, "qk_norm=rms_norm"),
    ],
)
def test_a_setting_that_changes_the_network_is_refused_with_its_value(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(CheckpointError, match="settings that cannot be honoured") as caught:
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | change))
    assert words in str(caught.value)


def test_notes_and_number_formats_are_ignored_and_infinity_matters_only_where_it_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = {"_commit_hash": "a" * 40, "_name_or_path": "x", "dropout": float("nan"), "torch_dtype": "float16"}
    with caplog.at_level("INFO", "dit.models"):
        found = read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | notes))
    assert found == DiTConfig(frequency_shift=1.0, mlp_norm_eps=1e-5)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'config.json'}: ignored, no part of the network: torch_dtype"
    ]


@pytest.mark.parametrize("name", [None, "UNet2DModel", "PixArtTransformer2DModel", ["DiTTransformer2DModel"]])
def test_another_transformer_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(CheckpointError, match="_class_name must be DiTTransformer2DModel or Transformer2DModel, got"):
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | {"_class_name": name}))


@pytest.fixture(scope="module")
def model() -> DiTTransformer2DModel:
    torch.manual_seed(0)
    return transformer(TINY)


def test_what_an_average_of_weights_keeps_in_the_config_is_ignored(
    tmp_path: Path, model: DiTTransformer2DModel, caplog: pytest.LogCaptureFixture
) -> None:
    average = EMAModel(model.parameters(), model_cls=DiTTransformer2DModel, model_config=model.config)
    average.save_pretrained(tmp_path / "transformer_ema")
    with caplog.at_level("INFO", "dit.models"):
        found = open_checkpoint(tmp_path / "transformer_ema")
    assert found.config.depth == TINY.depth
    (line,) = [record.message for record in caplog.records]
    assert all(key in line for key in average.state_dict().keys() - {"shadow_params"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_stored_table_of_positions_is_dropped_if_it_is_the_computed_one(
    tmp_path: Path, model: DiTTransformer2DModel, dtype: torch.dtype
) -> None:
    model.save_pretrained(tmp_path)
    table = torch.from_numpy(sincos_positions(TINY.hidden_size, TINY.input_size // TINY.patch_size)).to(dtype)[None]
    tensors = load_file(tmp_path / WEIGHTS)
    save_file({**tensors, "pos_embed.pos_embed": table}, tmp_path / WEIGHTS)
    load_dit(open_checkpoint(tmp_path), device=torch.device("cpu"), dtype=torch.float32)
    save_file({**tensors, "pos_embed.pos_embed": table.flip(1)}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"pos_embed\.pos_embed is not the paper's table"):
        open_checkpoint(tmp_path)


def test_another_number_of_classes_than_the_config_says_is_refused(
    tmp_path: Path, model: DiTTransformer2DModel
) -> None:
    model.save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", num_embeds_ada_norm=None)
    with pytest.raises(CheckpointError, match="embedding_table"):
        open_checkpoint(tmp_path)
