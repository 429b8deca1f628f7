"""The fused decoder is diffusers' within float32 rounding, with whatever it does not know left as it is."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D

from dit_serve.kernels.add_bias import add_bias_reference
from dit_serve.kernels.groupnorm_silu import groupnorm_silu_reference
from dit_serve.models.fused_decoder import FusedConvolution, FusedNorm, FusedResnet, fuse
from dit_serve.models.vae import VAE, load_vae

NORMS, RESNETS, CONVOLUTIONS = 30, 14, 34  # two a resnet, attention's, the last; two a resnet, 2 shortcuts, 3 + 1


def lively(**changes: object) -> AutoencoderKL:
    """diffusers' autoencoder of Stable Diffusion's layout, small, with no weight or bias at zero or one."""
    arguments: dict[str, Any] = {
        "block_out_channels": (32, 64, 64, 128), "down_block_types": ("DownEncoderBlock2D",) * 4, "norm_num_groups": 8,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2,
    }
    module = AutoencoderKL(**(arguments | changes)).eval()
    for parameter in module.requires_grad_(False).parameters():
        parameter.normal_(std=0.2)
    return module


def kinds(module: torch.nn.Module, *kinds: type[torch.nn.Module]) -> list[str]:
    """Return the names of the modules of these kinds."""
    return [name for name, one in module.named_modules() if isinstance(one, kinds)]


def latents() -> torch.Tensor:
    return torch.randn(2, 4, 5, 3)


def assert_same_image(fused: AutoencoderKL, module: AutoencoderKL, z: torch.Tensor) -> None:
    expected = module.decode(z).sample
    assert expected.std() > 0.1
    # float32 through 35 convolutions, which sum in another order in another layout
    torch.testing.assert_close(fused.decode(z).sample, expected, rtol=1e-4, atol=1e-4)


def test_all_of_a_decoder_is_fused_but_its_attention_and_last_convolution_and_no_weight_is_renamed() -> None:
    module = lively()
    before, state = kinds(module.decoder, torch.nn.GroupNorm), module.state_dict()
    fuse(module.decoder)
    assert len(before) == NORMS
    assert kinds(module.decoder, FusedNorm) == before
    assert len(kinds(module.decoder, FusedResnet)) == RESNETS
    assert len(kinds(module.decoder, FusedConvolution)) == CONVOLUTIONS
    assert kinds(module.decoder, torch.nn.SiLU, ResnetBlock2D, Upsample2D) == []
    assert kinds(module.decoder, torch.nn.Conv2d) == ["conv_out"]
    assert list(module.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert kinds(module.encoder, FusedNorm, FusedConvolution) == []


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fused_decoder_gives_the_same_image(layout: torch.memory_format) -> None:
    module = lively()
    fused = copy.deepcopy(module).to(memory_format=layout)
    fuse(fused.decoder)
    assert_same_image(fused, module, latents())


def test_all_ops_of_a_decoder_in_channels_last_find_and_leave_their_images_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: Counter[tuple[str, bool]] = Counter()

    def looks(op: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def called(*arguments: Any) -> torch.Tensor:
            images = [each for each in arguments if isinstance(each, torch.Tensor) and each.dim() == 4]
            is_there = all(each.is_contiguous(memory_format=torch.channels_last) for each in images)
            seen[op.__name__, is_there] += 1
            return op(*arguments).to(memory_format=torch.channels_last)  # as the kernels leave it

        return called

    monkeypatch.setattr("dit_serve.models.fused_decoder.groupnorm_silu", looks(groupnorm_silu_reference))
    monkeypatch.setattr("dit_serve.models.fused_decoder.add_bias", looks(add_bias_reference))
    module = lively().to(memory_format=torch.channels_last)
    fuse(module.decoder)
    module.decode(latents())
    without_shortcuts = CONVOLUTIONS - 2  # a shortcut's bias is added with its block's
    assert seen == {("groupnorm_silu_reference", True): NORMS, ("add_bias_reference", True): without_shortcuts}


def test_the_widened_autoencoder_is_fused_and_in_float32() -> None:
    module = lively().to(torch.bfloat16)
    expected = copy.deepcopy(module).float()
    fuse(module.decoder)
    wide = VAE(module).widened()
    assert len(kinds(wide.module.decoder, FusedResnet)) == RESNETS
    assert {each.dtype for each in (*wide.module.parameters(), *wide.module.buffers())} == {torch.float32}
    assert_same_image(wide.module, expected, latents())


@pytest.mark.parametrize("upsampling", [1, 2])
def test_a_block_in_sixteen_bits_adds_both_biases_of_its_end(upsampling: int) -> None:
    block = lively().decoder.up_blocks[3].resnets[0]
    for convolution in (block.conv2, block.conv_shortcut):
        convolution.bias.normal_(std=20)
    block, x = block.bfloat16(), torch.randn(2, 64, 5, 3).bfloat16()
    exact = copy.deepcopy(block).float()(x.float(), None)
    exact = exact.repeat_interleave(upsampling, 2).repeat_interleave(upsampling, 3)
    got = FusedResnet(block, upsampling)(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=2**-7, atol=0.5)  # norms and sums of some tens in 8 bits


def test_blocks_with_another_activation_stay_as_they_are() -> None:
    module = lively(act_fn="relu")
    fused = copy.deepcopy(module)
    fuse(fused.decoder)
    assert sorted(kinds(fused.decoder, FusedNorm)) == ["conv_norm_out", "mid_block.attentions.0.group_norm"]
    assert kinds(fused.decoder, FusedConvolution) == ["conv_in"]
    assert_same_image(fused, module, latents())


class OtherResnet(ResnetBlock2D):  # type: ignore[misc]
    """Another class, whatever it does."""


def _scaled(block: ResnetBlock2D) -> None:
    block.output_scale_factor = 2.0


def _with_instance_norm(block: ResnetBlock2D) -> None:
    block.norm2 = torch.nn.InstanceNorm2d(block.out_channels, affine=True)


def _without_weights(block: ResnetBlock2D) -> None:
    block.norm1 = torch.nn.GroupNorm(8, block.in_channels, affine=False)


def _without_bias(block: ResnetBlock2D) -> None:
    block.conv1.bias = None


def _reflecting(block: ResnetBlock2D) -> None:
    block.conv2.padding_mode = "reflect"


def _of_another_class(block: ResnetBlock2D) -> None:
    block.__class__ = OtherResnet


def _doubling(block: ResnetBlock2D) -> None:
    block.upsample = Upsample2D(block.in_channels)


CHANGES = [_scaled, _with_instance_norm, _without_weights, _without_bias, _reflecting, _of_another_class, _doubling]


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_a_block_that_is_not_known_stays_as_it_is(change: Callable[[ResnetBlock2D], None], place: int) -> None:
    module = lively()
    change(module.decoder.up_blocks[2].resnets[place])
    fused = copy.deepcopy(module)
    fuse(fused.decoder)
    assert kinds(fused.decoder, ResnetBlock2D) == [f"up_blocks.2.resnets.{place}"]
    assert ("up_blocks.2.upsamplers.0" in kinds(fused.decoder, Upsample2D)) == (place == 2)  # its own block's last
    assert_same_image(fused, module, latents())


def _as_it_is(upsampler: Upsample2D) -> None:
    upsampler.interpolate = False


def _normed(upsampler: Upsample2D) -> None:
    upsampler.norm = torch.nn.LayerNorm(upsampler.channels)


def _without_convolution(upsampler: Upsample2D) -> None:
    upsampler.use_conv = False


def _transposed(upsampler: Upsample2D) -> None:
    upsampler.use_conv_transpose = True
    upsampler.conv = torch.nn.ConvTranspose2d(upsampler.channels, upsampler.channels, 4, 2, 1)


@pytest.mark.parametrize("change", [_as_it_is, _normed, _without_convolution, _transposed])
def test_an_upsampler_that_is_not_known_stays_as_it_is(change: Callable[[Upsample2D], None]) -> None:
    module = lively()
    change(module.decoder.up_blocks[1].upsamplers[0].requires_grad_(False))
    module.requires_grad_(False)
    fused = copy.deepcopy(module)
    fuse(fused.decoder)
    assert kinds(fused.decoder, Upsample2D) == ["up_blocks.1.upsamplers.0"]
    assert len(kinds(fused.decoder, FusedResnet)) == RESNETS
    assert_same_image(fused, module, latents())


def test_layers_of_odd_widths_stay_as_they_are() -> None:
    module = lively(block_out_channels=(12, 12, 24, 24), norm_num_groups=4)
    fused = copy.deepcopy(module)
    fuse(fused.decoder)
    assert {name.split(".resnets")[0] for name in kinds(fused.decoder, ResnetBlock2D)} == {"up_blocks.2", "up_blocks.3"}
    assert kinds(fused.decoder, Upsample2D) == ["up_blocks.2.upsamplers.0"]
    assert_same_image(fused, module, latents())


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_decoder_is_fused_on_a_card_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = lively()
    monkeypatch.setattr("dit_serve.models.vae.read_autoencoder", lambda *folder, **place: module)
    vae = load_vae(Path(), device=torch.device(name), dtype=torch.float32)
    is_card = name == "cuda"
    assert len(kinds(vae.module, FusedResnet)) == (RESNETS if is_card else 0)
    assert vae.module.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last) == is_card
