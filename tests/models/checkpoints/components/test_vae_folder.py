"""Nothing in an autoencoder's folder is believed unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.components.vae_folder import read_autoencoder
from dit_serve.models.errors import CheckpointError
from tests.models.tiny_vae import save_tiny_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def module(tmp_path: Path) -> AutoencoderKL:
    """diffusers' autoencoder, also written to tmp_path."""
    return save_tiny_vae(tmp_path)


def _read(folder: Path) -> AutoencoderKL:
    return read_autoencoder(folder, device=torch.device("cpu"), dtype=torch.float32)


def _change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _change_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def test_old_attention_names_and_shapes_are_read(tmp_path: Path, module: AutoencoderKL) -> None:
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in load_file(tmp_path / WEIGHTS).items():
        for new, before in old.items():
            if new in name:
                name, tensor = name.replace(new, before), tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        tensors[name] = tensor
    assert sum(".query." in name for name in tensors) == 4
    _change_tensors(tmp_path, tensors)
    for name, tensor in _read(tmp_path).state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


@pytest.mark.parametrize("kept", [{"max_shard_size": "20KB"}, {"safe_serialization": False}], ids=["shards", "bin"])
def test_weights_in_shards_and_pickled_are_read(tmp_path: Path, module: AutoencoderKL, kept: dict[str, Any]) -> None:
    (tmp_path / WEIGHTS).unlink()
    module.save_pretrained(tmp_path, **kept)
    assert not (tmp_path / WEIGHTS).exists()
    for name, tensor in _read(tmp_path).state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


def test_all_wrong_tensors_are_named(tmp_path: Path, module: AutoencoderKL) -> None:
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["quant_conv.bias"]
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["encoder.conv_in.weight"] = torch.zeros(4, 3, 1, 1)
    tensors["decoder.conv_in.bias"][0] = float("nan")
    _change_tensors(tmp_path, tensors)
    with pytest.raises(CheckpointError) as caught:
        _read(tmp_path)
    for part in (
        str(tmp_path / WEIGHTS),
        "missing quant_conv.bias",
        "unexpected surplus.weight",
        "encoder.conv_in.weight is (4, 3, 1, 1), not (4, 3, 3, 3)",
        "decoder.conv_in.bias holds NaN",
    ):
        assert part in str(caught.value)


def test_tensors_of_no_float_type_are_refused(tmp_path: Path, module: AutoencoderKL) -> None:
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["quant_conv.bias"] = tensors["quant_conv.bias"].to(torch.int32)
    _change_tensors(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=r"quant_conv\.bias is int32, not of a usual float type"):
        _read(tmp_path)


def test_of_many_wrong_tensors_the_first_are_named_and_the_rest_counted(tmp_path: Path, module: AutoencoderKL) -> None:
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["decoder.conv_out.bias"][0] = float("inf")
    _change_tensors(tmp_path, {name: tensors[name] for name in ("decoder.conv_out.bias", "quant_conv.bias")})
    with pytest.raises(CheckpointError, match=r"missing .* … and \d+ more: not the weights of this config") as caught:
        _read(tmp_path)
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "AutoencoderTiny"}, "_class_name must be AutoencoderKL, got 'AutoencoderTiny'"),
        ({"surprise": 1, "hook": 2}, "unknown settings hook, surprise"),
        ({"quantization_config": {}}, "unknown settings quantization_config"),
        ({"scaling_factor": float("inf")}, "scaling_factor must be a positive number, got inf"),
        ({"sample_size": float("inf")}, "settings that no AutoencoderKL has: sample_size=inf"),
        ({"block_out_channels": [4, 4, 8, float("nan")]}, "settings that no AutoencoderKL has: block_out_channels="),
        ({"_class_name": "AutoencoderDC"}, "_class_name must be AutoencoderKL, got 'AutoencoderDC'"),
        ({"shift_factor": 0.1}, "shift_factor=0.1 cannot be honoured"),
        ({"latents_mean": [0.0] * 4}, "latents_mean=.* cannot be honoured"),
        ({"block_out_channels": 5}, "settings that no AutoencoderKL has: block_out_channels=5"),
        ({"up_block_types": ["Nonsense"] * 4}, "settings that no AutoencoderKL has: up_block_types="),
        ({"layers_per_block": 10**9}, "settings that no AutoencoderKL has: layers_per_block=1000000000"),
        ({"block_out_channels": [10**9] * 4}, "settings that no AutoencoderKL has: block_out_channels="),
        ({"norm_num_groups": 3}, "no autoencoder can be built from it"),
        ({"scaling_factor": 0.0}, "scaling_factor must be a positive number, got 0.0"),
        ({"scaling_factor": "2"}, "scaling_factor must be a positive number, got '2'"),
    ],
)
def test_config_that_cannot_be_honoured_is_refused(
    tmp_path: Path, module: AutoencoderKL, changes: dict[str, object], message: str
) -> None:
    _change_config(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        _read(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", '"AutoencoderKL"'])
def test_config_that_is_no_object_is_refused(tmp_path: Path, module: AutoencoderKL, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        _read(tmp_path)


def test_missing_files_are_named(tmp_path: Path, module: AutoencoderKL) -> None:
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"holds no weights, neither diffusion_pytorch_model\.safetensors"):
        _read(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        _read(tmp_path)


def test_truncated_weights_are_refused(tmp_path: Path, module: AutoencoderKL) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=WEIGHTS):
        _read(tmp_path)
