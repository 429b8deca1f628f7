"""Folders of diffusers' layout with random weights, seeded, made on the spot: nothing is downloaded to measure.

The transformer's blocks are random with gates that are not zero, as a trained model's are. Its ends are not: the last
layer reads off the residual stream what the first wrote there, so that the predicted noise is mostly the noise that
went in, as a trained model's is. Without it a walk of 50 steps grows until one layer norm's input is all that matters,
and what is measured of its rounding says nothing. Weights are rounded to bfloat16, so float32 runs on the same.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:  # seconds of import, which sections that only need the sizes do without
    from diffusers import AutoencoderKL, DiTTransformer2DModel

MODULATION_GAIN = 0.5  # shifts, scales and gates of about 0.3
READ_GAIN = 1.5  # makes up for the layer norm in between, whose input is x and the branches
_EMBEDDER = re.compile(r"transformer_blocks\.\d+\.norm1\.emb\.")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a folder's networks measure; the defaults are DiT-XL/2's and Stable Diffusion's autoencoder's."""

    layers: int = 28
    heads: int = 16
    head_size: int = 72
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    vae_layers: int = 2
    vae_groups: int = 32


def write_folder(folder: Path, sizes: Sizes, latent_side: int, seed: int, device: torch.device) -> None:
    """Write a checkpoint that both DiTPipeline and ours load, for latents of that side: 32 is 256 pixels.

    The seed is that of all weights; another device draws other numbers.
    """
    from diffusers import DDIMScheduler, DiTTransformer2DModel

    (folder / "transformer").mkdir(parents=True)
    with torch.device("meta"):
        model = DiTTransformer2DModel(
            num_attention_heads=sizes.heads, attention_head_dim=sizes.head_size, num_layers=sizes.layers,
            sample_size=latent_side, in_channels=4, out_channels=8, num_embeds_ada_norm=1000,
        )
    model.save_config(folder / "transformer")
    weights = _random_weights(model, torch.Generator(device).manual_seed(seed))
    save_file(weights, folder / "transformer" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    random_vae(sizes, latent_side, seed).save_pretrained(folder / "vae")
    DDIMScheduler(num_train_timesteps=1000, clip_sample=False).save_pretrained(folder / "scheduler")
    parts = {"transformer": "DiTTransformer2DModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {part: ["diffusers", kind] for part, kind in parts.items()}
    text = json.dumps({"_class_name": "DiTPipeline", "_diffusers_version": "0.38.0", **index})
    (folder / "model_index.json").write_text(text, encoding="utf-8")


def at_latent_side(source: Path, folder: Path, latent_side: int) -> None:
    """Write the same model for latents of another side: the files are the same but for one number."""
    shutil.copytree(source, folder, copy_function=os.link)
    config = folder / "transformer" / "config.json"
    text = json.dumps({**json.loads(config.read_text(encoding="utf-8")), "sample_size": latent_side})
    config.unlink()  # the other model's file, too
    config.write_text(text, encoding="utf-8")


def random_vae(sizes: Sizes, latent_side: int, seed: int) -> AutoencoderKL:
    """Return a random autoencoder of Stable Diffusion's form whose pictures have contrast."""
    from diffusers import AutoencoderKL

    levels = len(sizes.vae_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=sizes.vae_channels, layers_per_block=sizes.vae_layers,
            norm_num_groups=sizes.vae_groups, sample_size=latent_side * 2 ** (levels - 1),
        ).eval()
        with torch.no_grad():
            spread = vae.decode(torch.randn(1, 4, 16, 16)).sample.std()
            vae.decoder.conv_out.weight *= 0.5 / spread
    return vae


def _random_weights(model: DiTTransformer2DModel, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return its tensors in bfloat16 on the CPU; all blocks have one embedder, as the published ones do."""
    tensors: dict[str, torch.Tensor] = {}
    for name, empty in model.state_dict().items():
        shared = _EMBEDDER.sub("transformer_blocks.0.norm1.emb.", name)
        is_known = shared in tensors
        drawn = tensors[shared].clone() if is_known else _random(name, empty.shape, generator)
        tensors[name] = drawn.bfloat16().cpu()
    weight = tensors["pos_embed.proj.weight"].float()                                     # (D, C, p, p)
    width = weight.shape[0]
    columns = torch.linalg.qr(weight.flatten(1))[0].contiguous() * (width / weight[0].numel()) ** 0.5
    tensors["pos_embed.proj.weight"] = columns.view(weight.shape).bfloat16()  # in the stream as large as a branch
    reading = columns.view(weight.shape).permute(2, 3, 1, 0) * (READ_GAIN * weight[0].numel() / width)    # (p, p, C, D)
    last = tensors["proj_out_2.weight"].float().view(*reading.shape[:2], 2 * reading.shape[2], width)
    last[:, :, : reading.shape[2]] = 0.1 * last[:, :, : reading.shape[2]] + reading
    tensors["proj_out_2.weight"] = last.reshape(-1, width).bfloat16()
    return tensors


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Return normal numbers that keep the size of what passes through a layer."""
    values = torch.randn(shape, generator=generator, device=generator.device)
    if name.endswith("bias"):
        return values * 0.02
    if name.endswith("embedding_table.weight"):
        return values * 0.5
    is_modulation = name.endswith(("norm1.linear.weight", "proj_out_1.weight"))
    gain = MODULATION_GAIN if is_modulation else 1.0
    return values * (gain / math.sqrt(shape[1:].numel()))
