"""checkpoints/relatives.py: what is no plain DiT is named, and a plain DiT never is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dit_serve.models.checkpoints.layouts import recognise
from dit_serve.models.checkpoints.relatives import few, relative
from dit_serve.models.checkpoints.tensor_files import StoredTensor
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state, stored, transformer

# As the published code of each names its tensors: beside a DiT's own where it is built on one, else alone.
BESIDE = {
    "SwiGLU, RMSNorm .* and RoPE .as LightningDiT has": [
        "blocks.0.mlp.w12.weight", "blocks.0.mlp.w3.bias", "blocks.0.norm1.weight", "feat_rope.freqs_cos",
    ],
    "a DiT with query-key norm": ["blocks.1.attn.q_norm.weight", "blocks.1.attn.k_norm.bias"],
    "a DiT with SwiGLU, told": ["blocks.0.mlp.w1.weight", "blocks.0.mlp.w2.weight"],
    "a DiT with RoPE": ["rope.inv_freq"],
    "a DiT with cross-attention": ["blocks.0.cross_attn.q_linear.weight"],
    "guidance-free training": ["beta_embedder.mlp.0.weight"],
    "an MDT": ["mask_token", "sideblocks.0.attn.qkv.weight", "blocks.0.attn.rel_pos_bias.relative_position_index"],
    "a MaskDiT": ["decoder_blocks.0.attn.qkv.weight", "decoder_layer.linear.weight", "mask_token"],
    "mixtures of experts": ["blocks.0.moe.experts.0.gate_proj.weight", "blocks.0.moe.gate.weight"],
    "a FiT": ["global_adaLN_modulation.1.weight"],
    "a DiG": ["blocks.0.attn.gk_proj.0.weight"],
    "a Latte, which makes video": ["temp_embed"],
    "a HunyuanDiT": ["mlp_t5.0.weight", "blocks.0.default_modulation.1.weight"],
    "a PixArt": ["y_embedder.y_proj.fc1.weight", "t_block.1.weight", "blocks.0.scale_shift_table"],
    "LoRA": ["blocks.0.attn.qkv.lora_A.weight", "blocks.0.attn.qkv.lora_B.weight"],
}
ALONE = {
    "an MMDiT": ["joint_blocks.0.x_block.attn.qkv.weight", "context_embedder.weight", "x_embedder.proj.weight"],
    "a FLUX": ["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight", "img_in.weight"],
    "a U-ViT": ["in_blocks.0.attn.qkv.weight", "mid_block.attn.qkv.weight", "patch_embed.proj.weight", "pos_embed"],
    "a Lumina": ["layers.0.attention.wq.weight", "x_embedder.weight", "cap_embedder.0.weight"],
    "an EDM2, a U-Net": ["unet.emb_fourier.freqs", "unet.enc.8x8_block0.conv_res0.weight"],
    "a U-Net,": ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.quant_conv.weight"],
    "U-Net, told by down_blocks": ["down_blocks.0.resnets.0.conv1.weight", "mid_block.attentions.0.proj_in.weight"],
    "autoencoder, .* give it as --vae": ["encoder.conv_in.weight", "decoder.up_blocks.0.resnets.0.conv1.weight"],
    "autoencoder, told by quant": ["quant_conv.weight"],
    "a CLIP": ["text_model.encoder.layers.0.mlp.fc1.weight", "logit_scale"],
    "T5": ["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"],
    "an optimizer's state": ["state.0.exp_avg", "state.0.exp_avg_sq", "state.0.step"],
    "recognises images": ["cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "head.weight"],
}


def named(names: list[str]) -> dict[str, StoredTensor]:
    return {name: StoredTensor(Path("x"), name, (4, 4), "F32") for name in names}


@pytest.mark.parametrize("words", BESIDE)
def test_what_a_dit_has_beside_its_parts_is_named(words: str) -> None:
    refused(stored(original_state(TINY)) | named(BESIDE[words]), words)


@pytest.mark.parametrize("words", ALONE)
def test_what_is_something_else_is_named(words: str) -> None:
    refused(named(ALONE[words]), words)


def refused(found: dict[str, StoredTensor], words: str) -> None:
    with pytest.raises(CheckpointError, match=f"x: .*{words}") as caught:
        recognise(found, "x")
    assert len(str(caught.value)) < 300
    assert "again" not in str(caught.value)


def test_other_ways_to_condition_a_block_are_told_by_what_is_missing_or_by_the_shape() -> None:
    found = stored(original_state(TINY))
    without = {name: tensor for name, tensor in found.items() if "s." not in name or ".adaLN" not in name}
    refused(without, "in-context conditioning")
    refused({name: tensor for name, tensor in found.items() if "y_embedder" not in name}, "a DiT without classes")
    name = "blocks.0.adaLN_modulation.1.weight"
    refused(found | {name: replace(found[name], shape=(192, 48))}, "adaLN without gates")
    name = "x_embedder.proj.weight"
    refused(found | {name: replace(found[name], shape=(48, 16))}, "takes patches")


def test_a_plain_dit_has_no_relative_whatever_its_layout() -> None:
    state = original_state(TINY) | {"projectors.0.0.weight": torch.zeros(4, 4)}
    assert relative(state) is None
    assert relative(transformer(TINY).state_dict()) is None


def test_names_that_differ_in_numbers_alone_are_given_once() -> None:
    assert few(["blocks.0.a", "blocks.1.a", "b"]) == "blocks.0.a, b, …"
    assert few(["a", "b", "c", "d"]) == "a, b, c, …"
    assert few(["a" * 90], length=10) == f"…{'a' * 9}"
    assert few([]) == ""
