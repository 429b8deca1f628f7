"""The autoencoder is diffusers' own to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from dit_serve.models.vae import VAE, load_vae, vae_dtype
from tests.models.tiny_vae import save_tiny_vae


@pytest.fixture
def module(tmp_path: Path) -> AutoencoderKL:
    """diffusers' autoencoder, also written to tmp_path."""
    return save_tiny_vae(tmp_path)


def _load(folder: Path) -> VAE:
    return load_vae(folder, device=torch.device("cpu"), dtype=torch.float32)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
