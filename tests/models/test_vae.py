"""The autoencoder is diffusers' own to the last bit, and with its norms fused within float32 rounding."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from dit_serve.kernels.groupnorm_silu import groupnorm_silu_reference
from dit_serve.models.vae import VAE, FusedNorm, fuse_norms, load_vae, vae_dtype
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


def _lively(**changes: object) -> AutoencoderKL:
    """diffusers' autoencoder of Stable Diffusion's layout, small, with no weight or bias at zero or one."""
    module = AutoencoderKL(
        block_out_channels=(32, 64, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=8,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, **changes,
    ).eval()
    for parameter in module.requires_grad_(False).parameters():
        parameter.normal_(std=0.2)
    return module


def _norms(module: torch.nn.Module, kind: type[torch.nn.Module]) -> list[str]:
    return [name for name, one in module.named_modules() if isinstance(one, kind)]


def test_every_norm_of_a_decoder_is_fused_and_no_weight_is_renamed() -> None:
    module = _lively()
    before, keys = _norms(module.decoder, torch.nn.GroupNorm), list(module.state_dict())
    fuse_norms(module.decoder)
    assert len(before) == 30
    assert _norms(module.decoder, FusedNorm) == before
    assert _norms(module.decoder, torch.nn.SiLU) == []
    assert list(module.state_dict()) == keys
    assert _norms(module.encoder, FusedNorm) == []


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_norms_give_the_same_image(layout: torch.memory_format) -> None:
    module = _lively()
    fused = copy.deepcopy(module).to(memory_format=layout)
    fuse_norms(fused.decoder)
    latents = _normal(2, 4, 5, 5)
    expected = module.decode(latents).sample
    assert expected.std() > 0.1
    # float32 through 35 convolutions, which sum in another order in the other layout
    torch.testing.assert_close(fused.decode(latents).sample, expected, rtol=1e-4, atol=1e-4)


def test_every_norm_of_a_decoder_in_channels_last_finds_its_image_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def looks(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return groupnorm_silu_reference(x, *rest).to(memory_format=torch.channels_last)  # as the kernel leaves it

    monkeypatch.setattr("dit_serve.models.vae.groupnorm_silu", looks)
    module = _lively().to(memory_format=torch.channels_last)
    fuse_norms(module.decoder)
    module.decode(_normal(2, 4, 5, 5))
    assert seen == [True] * 30


def test_the_widened_autoencoder_has_its_norms_fused_and_in_float32() -> None:
    module = _lively().to(torch.bfloat16)
    expected = copy.deepcopy(module).float()
    fuse_norms(module.decoder)
    latents = _normal(1, 4, 4, 4)
    wide = VAE(module).widened()
    assert len(_norms(wide.module.decoder, FusedNorm)) == 30
    scaled = latents / wide.scaling_factor
    torch.testing.assert_close(wide.module.decode(scaled).sample, expected.decode(scaled).sample)


def test_norms_with_another_activation_stay_as_they_are() -> None:
    module = _lively(act_fn="relu")
    fused = copy.deepcopy(module)
    fuse_norms(fused.decoder)
    latents = _normal(1, 4, 4, 4)
    torch.testing.assert_close(fused.decode(latents).sample, module.decode(latents).sample)
    attention_and_end = ["mid_block.attentions.0.group_norm", "conv_norm_out"]
    assert sorted(_norms(fused.decoder, FusedNorm)) == sorted(attention_and_end)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_norms_are_fused_on_a_card_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _lively()
    monkeypatch.setattr("dit_serve.models.vae.read_autoencoder", lambda *folder, **place: module)
    vae = load_vae(Path(), device=torch.device(name), dtype=torch.float32)
    is_card = name == "cuda"
    assert len(_norms(vae.module, FusedNorm)) == (30 if is_card else 0)
    assert vae.module.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last) == is_card
