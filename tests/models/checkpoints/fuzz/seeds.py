"""The sound checkpoints that are damaged: one of each form that people have, small, and always the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from dit_serve.models.dit import DiTConfig
from tests.models.checkpoints.written import original_state, save_folder, training_checkpoint, transformer
from tests.models.conditioned import OTHERS, save_conditioned
from tests.models.tiny_vae import save_tiny_vae

ORIGINAL_NAMES = (
    ("encoder.down_blocks.0.resnets.", "encoder.down.0.block."),
    ("decoder.up_blocks.0.resnets.", "decoder.up.0.block."),
    ("mid_block.resnets.0.", "mid.block_1."), ("mid_block.resnets.1.", "mid.block_2."), ("conv_norm_out", "norm_out"),
    ("mid_block.attentions.0.", "mid.attn_1."), ("group_norm.", "norm."), ("to_q.", "q."), ("to_k.", "k."),
    ("to_v.", "v."), ("to_out.0.", "proj_out."),
)
SMALL = DiTConfig(input_size=4, hidden_size=8, depth=1, num_heads=2, num_classes=3)
HEADS = json.dumps({"num_heads": SMALL.num_heads})


@dataclass(frozen=True, slots=True)
class Seed:
    """A checkpoint in a folder of its own.

    Attributes:
        name: for people.
        folder: everything that belongs to it.
        entry: what is opened, beneath the folder; "" for the folder itself.
        kind: whose it is.
    """

    name: str
    folder: Path
    entry: str
    kind: Literal["dit", "vae"] = "dit"


def make_seeds(base: Path) -> list[Seed]:
    """Write all seeds beneath `base`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [*_files(base), *_folders(base)]


def _files(base: Path) -> list[Seed]:
    state, training = original_state(SMALL), training_checkpoint(SMALL, num_heads=SMALL.num_heads)
    writers: dict[str, tuple[Callable[[Path], Any], bool]] = {
        "plain.safetensors": (lambda path: save_file(state, path, metadata={"num_heads": "2"}), False),
        "beside.safetensors": (lambda path: save_file(state, path), True),
        "plain.pt": (lambda path: torch.save(state, path), True),
        "old.pt": (lambda path: torch.save(state, path, _use_new_zipfile_serialization=False), True),
        "protocol4.pt": (lambda path: torch.save(state, path, pickle_protocol=4), True),
        "training.pt": (lambda path: torch.save(training, path), False),
        "old-training.pt": (lambda path: torch.save(training, path, _use_new_zipfile_serialization=False), False),
        "parallel.pth": (lambda path: torch.save({"model": _under("module.", state)}, path, pickle_protocol=5), True),
        "lightning.ckpt": (lambda path: torch.save(_lightning(state), path), True),
    }
    seeds = []
    for name, (write, has_sidecar) in writers.items():
        folder = base / name.replace(".", "-")
        folder.mkdir()
        write(folder / name)
        if has_sidecar:
            (folder / name).with_suffix(".json").write_text(HEADS)
        seeds.append(Seed(name, folder, name))
    return seeds


def _folders(base: Path) -> list[Seed]:
    seeds = []
    for name, shapes in {"whole": {}, "shards": {"shard": "8KB"}, "bin": {"pickled": True}, "bin-shards": {
        "pickled": True, "shard": "8KB"
    }}.items():
        folder = base / name
        save_folder(folder, SMALL, **shapes)
        shutil.rmtree(folder / "vae")
        save_tiny_vae(folder / "vae")
        seeds.append(Seed(name, folder, ""))
    for conditioning in OTHERS:
        save_conditioned(base / conditioning, conditioning, SMALL)
        seeds.append(Seed(conditioning, base / conditioning, ""))
    transformer(SMALL).save_pretrained(base / "transformer")
    seeds.append(Seed("transformer", base / "transformer", ""))
    seeds.append(Seed("transformer-file", base / "transformer", "diffusion_pytorch_model.safetensors"))
    save_tiny_vae(base / "vae")
    seeds.append(Seed("vae", base / "vae", "", "vae"))
    for name, prefix in {"vae-file": "", "first-stage": "first_stage_model."}.items():
        (base / name).mkdir()
        torch.save({"state_dict": _under(prefix, _latent_diffusion_state())}, base / name / "vae.ckpt")
        seeds.append(Seed(name, base / name, "vae.ckpt", "vae"))
    return seeds


def _latent_diffusion_state() -> dict[str, torch.Tensor]:
    """An autoencoder of one level, as the original code of latent diffusion names and shapes its tensors."""
    arguments = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    state = {}
    for name, tensor in AutoencoderKL(**arguments, block_out_channels=(32,), norm_num_groups=32).state_dict().items():
        is_projection = ".attentions." in name and tensor.ndim == 2
        for current, original in ORIGINAL_NAMES:
            name = name.replace(current, original)
        state[name] = tensor[:, :, None, None] if is_projection else tensor
    return state


def _under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def _lightning(state: dict[str, torch.Tensor]) -> dict[str, object]:
    tensors = {**_under("model.", state), **_under("ema.", {name: tensor + 1 for name, tensor in state.items()})}
    return {"state_dict": tensors, "epoch": 3, "global_step": 70, "hyper_parameters": {"num_heads": 2}}
