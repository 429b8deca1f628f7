"""An autoencoder as one file under its original names: models/checkpoints/components/ldm_vae.py and vae_folder.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import save_file

from dit_serve.models.checkpoints.components.vae_folder import read_autoencoder
from dit_serve.models.errors import CheckpointError
from dit_serve.models.vae import load_vae

CPU = torch.device("cpu")
State = dict[str, torch.Tensor]


def autoencoder(*, latent_channels: int = 4, attention: bool = False) -> AutoencoderKL:
    """diffusers' autoencoder of three levels with the original code's 32 groups, and random weights."""
    down, up = ["DownEncoderBlock2D"] * 3, ["UpDecoderBlock2D"] * 3
    if attention:
        down[2], up[0] = "AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = AutoencoderKL(
            block_out_channels=(32, 32, 64), down_block_types=tuple(down), up_block_types=tuple(up), norm_num_groups=32,
            latent_channels=latent_channels, layers_per_block=2, sample_size=32,
        )
    return module.eval().requires_grad_(False)


def original_names(module: AutoencoderKL, prefix: str = "") -> State:
    """The module's tensors as the original code writes them, spelled out level by level."""
    theirs = module.state_dict()
    state: State = {}

    def move(new: str, old: str) -> None:
        for kind in ("weight", "bias"):
            tensor = theirs.pop(f"{old}.{kind}")
            is_projection = ".attentions." in old and kind == "weight" and tensor.ndim == 2
            state[f"{prefix}{new}.{kind}"] = tensor[:, :, None, None] if is_projection else tensor

    def block(new: str, old: str) -> None:
        for name in ("norm1", "conv1", "norm2", "conv2"):
            move(f"{new}.{name}", f"{old}.{name}")
        if f"{old}.conv_shortcut.weight" in theirs:
            move(f"{new}.nin_shortcut", f"{old}.conv_shortcut")

    def attention(new: str, old: str) -> None:
        if f"{old}.group_norm.weight" in theirs:
            for name, other in (("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v")):
                move(f"{new}.{name}", f"{old}.{other}")
            move(f"{new}.proj_out", f"{old}.to_out.0")

    for side in ("encoder", "decoder"):
        for name, other in (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")):
            move(f"{side}.{name}", f"{side}.{other}")
        block(f"{side}.mid.block_1", f"{side}.mid_block.resnets.0")
        attention(f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0")
        block(f"{side}.mid.block_2", f"{side}.mid_block.resnets.1")
    for level in range(3):
        for i in range(2):
            block(f"encoder.down.{level}.block.{i}", f"encoder.down_blocks.{level}.resnets.{i}")
            attention(f"encoder.down.{level}.attn.{i}", f"encoder.down_blocks.{level}.attentions.{i}")
        for i in range(3):
            block(f"decoder.up.{2 - level}.block.{i}", f"decoder.up_blocks.{level}.resnets.{i}")
            attention(f"decoder.up.{2 - level}.attn.{i}", f"decoder.up_blocks.{level}.attentions.{i}")
        if level < 2:
            move(f"encoder.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv")
            move(f"decoder.up.{2 - level}.upsample.conv", f"decoder.up_blocks.{level}.upsamplers.0.conv")
    move("quant_conv", "quant_conv")
    move("post_quant_conv", "post_quant_conv")
    assert not theirs
    return {name: tensor.contiguous() for name, tensor in state.items()}


def read(path: Path) -> AutoencoderKL:
    return read_autoencoder(path, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def module() -> AutoencoderKL:
    return autoencoder()


def test_the_names_written_here_are_those_that_diffusers_itself_converts(module: AutoencoderKL) -> None:
    converted = convert_ldm_vae_checkpoint(original_names(module), dict(module.config))
    assert converted.keys() == module.state_dict().keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("vae.safetensors", ""), ("vae.safetensors", "first_stage_model."), ("vae.ckpt", "first_stage_model.")],
)
def test_a_file_in_original_names_decodes_to_diffusers_own_bits(
    tmp_path: Path, module: AutoencoderKL, name: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    state = original_names(module, prefix) | {"loss.discriminator.main.0.weight": torch.zeros(2, 2)}
    state["model.diffusion_model.out.0.bias"] = torch.zeros(3)
    if name.endswith("ckpt"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    found = load_vae(tmp_path / name, device=CPU, dtype=torch.float32)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    assert (found.scaling_factor, found.latent_channels, found.downsampling) == (0.18215, 4, 4)
    with torch.no_grad():
        assert torch.equal(found.images(latents), module.decode(latents / 0.18215).sample)


def test_the_scaling_that_is_assumed_is_said(
    tmp_path: Path, module: AutoencoderKL, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vae.safetensors"
    save_file(original_names(module), path)
    with caplog.at_level("INFO", "dit.models"):
        read(path)
    words = f"{path}: nothing says its scaling factor, which is taken to be 0.18215"
    assert [record.message for record in caplog.records] == [words]


def test_attention_between_the_blocks_and_sixteen_channels_are_read_with_a_config_that_says_the_scaling(
    tmp_path: Path,
) -> None:
    module, path = autoencoder(latent_channels=16, attention=True), tmp_path / "vae.safetensors"
    save_file(original_names(module), path)
    with pytest.raises(CheckpointError, match=r"nothing says the scaling factor of its 16 latent channels: write \{"):
        read(path)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL", "scaling_factor": 0.2325}')
    found = read(path).eval().requires_grad_(False)  # attention's last bit differs for weights that want gradients
    assert found.config["scaling_factor"] == 0.2325
    latents = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(found.decode(latents).sample, module.decode(latents).sample)


def test_a_config_of_something_else_beside_the_file_is_not_its_own(tmp_path: Path, module: AutoencoderKL) -> None:
    save_file(original_names(module), tmp_path / "vae.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "DiTTransformer2DModel"}')
    assert read(tmp_path / "vae.safetensors").config["scaling_factor"] == 0.18215


def test_a_file_in_diffusers_names_needs_its_config_beside(tmp_path: Path, module: AutoencoderKL) -> None:
    module.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    assert torch.equal(read(path).decoder.conv_in.weight, module.decoder.conv_in.weight)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"in diffusers' names, whose sizes stand in config\.json: put that file"):
        read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantize.embedding.weight": torch.zeros(4, 4)}, "a VQModel, with a codebook"),
        ({"encoder.conv_in.weight": None}, "not the weights of an AutoencoderKL; its "),
        ({"encoder.down.1.block.0.conv1.weight": None}, "missing or misshapen: encoder.down.1.block.0.conv1.weight"),
        ({"encoder.mid.block_1.conv1.bias": None}, "missing encoder.mid_block.resnets.0.conv1.bias"),
        ({"decoder.conv_norm_out.bias": torch.zeros(32)}, "decoder.conv_norm_out.bias is there twice"),
        ({"encoder.surprise": torch.zeros(1)}, "unexpected encoder.surprise"),
        ({"decoder.conv_out.weight": torch.zeros(1, 32, 3, 3)}, "settings that no AutoencoderKL has: out_channels=1"),
    ],
)
def test_a_file_that_is_no_whole_autoencoder_is_refused(
    tmp_path: Path, module: AutoencoderKL, change: dict[str, torch.Tensor | None], words: str
) -> None:
    path = tmp_path / "vae.safetensors"
    state = {name: tensor for name, tensor in (original_names(module) | change).items() if tensor is not None}
    save_file(state, path)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
