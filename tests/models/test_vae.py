"""The autoencoder is diffusers' own to the last bit, and nothing in its folder is believed unseen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from dit_serve.models.errors import CheckpointError
from dit_serve.models.vae import VAE, load_vae, vae_dtype
from tests.models.tiny_vae import save_tiny_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def module(tmp_path: Path) -> AutoencoderKL:
    """diffusers' autoencoder, also written to tmp_path."""
    return save_tiny_vae(tmp_path)


def _load(folder: Path) -> VAE:
    return load_vae(folder, device=torch.device("cpu"), dtype=torch.float32)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _change_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def test_decode_is_diffusers_decode(tmp_path: Path, module: AutoencoderKL) -> None:
    latents = _normal(2, 4, 4, 4)
    with torch.inference_mode():
        images = (module.decode(latents / 2.0).sample / 2 + 0.5).clamp(0, 1)
    expected = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    found = _load(tmp_path).decode(latents)
    assert found.shape == (2, 32, 32, 3)
    assert found.dtype == torch.uint8
    assert torch.equal(found, expected)


def test_encode_is_the_scaled_mean(tmp_path: Path, module: AutoencoderKL) -> None:
    images = _normal(2, 3, 32, 32).clamp(-1, 1)
    with torch.inference_mode():
        expected = module.encode(images).latent_dist.mean * 2.0
    torch.testing.assert_close(_load(tmp_path).encode(images), expected, atol=0, rtol=0)


def test_scaling_channels_and_down_sampling_are_read_from_the_config(tmp_path: Path) -> None:
    changes = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    save_tiny_vae(tmp_path, **changes, block_out_channels=(4, 4, 4), latent_channels=6, scaling_factor=0.5)
    vae = _load(tmp_path)
    assert (vae.latent_channels, vae.downsampling, vae.scaling_factor) == (6, 4, 0.5)
    assert vae.decode(_normal(1, 6, 4, 4)).shape == (1, 16, 16, 3)


def test_weights_take_the_dtype_asked_for(tmp_path: Path, module: AutoencoderKL) -> None:
    vae = load_vae(tmp_path, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert vae.module.dtype == torch.bfloat16
    assert vae.decode(_normal(1, 4, 4, 4)).dtype == torch.uint8
    assert not any(parameter.requires_grad for parameter in vae.module.parameters())


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cuda", torch.bfloat16, torch.bfloat16),
        ("cuda", torch.float16, torch.float32),
        ("cuda", torch.float32, torch.float32),
        ("cpu", torch.bfloat16, torch.float32),
        ("mps", torch.float16, torch.float32),
    ],
)
def test_the_autoencoder_is_narrower_than_float32_only_where_it_is_safe_and_faster(
    device: str, dtype: torch.dtype, expected: torch.dtype
) -> None:
    assert vae_dtype(dtype, torch.device(device)) == expected


def test_render_says_which_image_has_overflowed_and_the_widened_autoencoder_has_room(
    tmp_path: Path, module: AutoencoderKL
) -> None:
    vae = load_vae(tmp_path, device=torch.device("cpu"), dtype=torch.float16)
    latents = torch.cat([_normal(1, 4, 4, 4), 1e6 * _normal(1, 4, 4, 4)])
    assert vae.render(latents)[1].tolist() == [True, False]
    assert vae.widened().render(latents)[1].tolist() == [True, True]
    assert vae.widened() is vae.widened()
    assert vae.module.dtype == torch.float16


def test_an_infinity_is_no_white(tmp_path: Path, module: AutoencoderKL) -> None:
    vae = _load(tmp_path)
    vae.module.decoder.conv_out.bias[0] = float("inf")
    assert vae.render(_normal(2, 4, 4, 4))[1].tolist() == [False, False]


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
    for name, tensor in _load(tmp_path).module.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


def test_all_wrong_tensors_are_named(tmp_path: Path, module: AutoencoderKL) -> None:
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["quant_conv.bias"]
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["encoder.conv_in.weight"] = torch.zeros(4, 3, 1, 1)
    tensors["decoder.conv_in.bias"][0] = float("nan")
    tensors["decoder.conv_out.bias"][0] = float("inf")
    _change_tensors(tmp_path, tensors)
    with pytest.raises(CheckpointError) as caught:
        _load(tmp_path)
    for part in (
        str(tmp_path / WEIGHTS),
        "missing quant_conv.bias",
        "unexpected surplus.weight",
        "encoder.conv_in.weight has shape (4, 3, 1, 1), not (4, 3, 3, 3)",
        "decoder.conv_in.bias holds NaN",
        "decoder.conv_out.bias holds NaN",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "AutoencoderTiny"}, "_class_name must be AutoencoderKL, got 'AutoencoderTiny'"),
        ({"surprise": 1, "_hook": 2}, "unknown settings surprise, _hook"),
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
        _load(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", '"AutoencoderKL"'])
def test_config_that_is_no_object_is_refused(tmp_path: Path, module: AutoencoderKL, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        _load(tmp_path)


def test_missing_files_are_named(tmp_path: Path, module: AutoencoderKL) -> None:
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"holds none of diffusion_pytorch_model\.safetensors"):
        _load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        _load(tmp_path)


def test_truncated_weights_are_refused(tmp_path: Path, module: AutoencoderKL) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=WEIGHTS):
        _load(tmp_path)
