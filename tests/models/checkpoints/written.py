"""Builds checkpoints of exactly the published layouts with random weights, gates included, from tiny up to full XL/2.

The diffusers folders are written by diffusers itself; the original layout is spelled out by hand here, independently of
models/checkpoints/layouts.py. By hand:

    python -m tests.models.checkpoints.written {pt,training,safetensors,folder,bin} TARGET --size XL
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import save_file

from dit_serve.models.checkpoints.tensor_files import StoredTensor
from dit_serve.models.dit import DiTConfig
from dit_serve.models.registry import SIZES
from dit_serve.models.tokens import sincos_positions
from tests.models.checkpoints.folders import random_vae, randomise, share_embedders

TINY = DiTConfig(input_size=8, hidden_size=48, depth=3, num_heads=4, num_classes=10)
KINDS = ("pt", "training", "safetensors", "folder", "bin")


def original_state(config: DiTConfig, scale: float = 0.05) -> dict[str, torch.Tensor]:
    """Return random weights under the names of the original code, float32."""
    width, patch, mlp = config.hidden_size, config.patch_size, config.mlp_size
    shapes = {
        "x_embedder.proj.weight": (width, config.in_channels, patch, patch),
        "x_embedder.proj.bias": (width,),
        "t_embedder.mlp.0.weight": (width, 256),
        "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width),
        "t_embedder.mlp.2.bias": (width,),
        "y_embedder.embedding_table.weight": (config.num_classes + 1, width),
        "final_layer.linear.weight": (patch * patch * config.out_channels, width),
        "final_layer.linear.bias": (patch * patch * config.out_channels,),
        "final_layer.adaLN_modulation.1.weight": (2 * width, width),
        "final_layer.adaLN_modulation.1.bias": (2 * width,),
    }
    for i in range(config.depth):
        shapes |= {
            f"blocks.{i}.attn.qkv.weight": (3 * width, width),
            f"blocks.{i}.attn.qkv.bias": (3 * width,),
            f"blocks.{i}.attn.proj.weight": (width, width),
            f"blocks.{i}.attn.proj.bias": (width,),
            f"blocks.{i}.mlp.fc1.weight": (mlp, width),
            f"blocks.{i}.mlp.fc1.bias": (mlp,),
            f"blocks.{i}.mlp.fc2.weight": (width, mlp),
            f"blocks.{i}.mlp.fc2.bias": (width,),
            f"blocks.{i}.adaLN_modulation.1.weight": (6 * width, width),
            f"blocks.{i}.adaLN_modulation.1.bias": (6 * width,),
        }
    state = {name: torch.randn(shape) * scale for name, shape in shapes.items()}
    positions = torch.from_numpy(sincos_positions(width, config.input_size // patch)).float()
    return {"pos_embed": positions.unsqueeze(0), **state}


def stored(state: dict[str, torch.Tensor]) -> dict[str, StoredTensor]:
    """Return tensors as they would be found in a file."""
    types = {torch.float32: "F32", torch.int64: "I64"}
    return {name: StoredTensor(Path("x"), name, tuple(t.shape), types[t.dtype]) for name, t in state.items()}


def training_checkpoint(config: DiTConfig, **args: object) -> dict[str, object]:
    """Return a checkpoint as the published train.py writes it: model, EMA, optimizer and arguments."""
    model = original_state(config)
    moments = {i: {"step": torch.tensor(7.0), "exp_avg": torch.randn(4)} for i in range(3)}
    settings = {"model": "DiT-XL/2", "image_size": 8 * config.input_size, "num_classes": config.num_classes, **args}
    return {
        "model": model,
        "ema": original_state(config),
        "opt": {"state": moments, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0, 1, 2]}]},
        "args": argparse.Namespace(**settings),
    }


def transformer(config: DiTConfig, *, shared_embedders: bool = True) -> DiTTransformer2DModel:
    """Return diffusers' model of this architecture, every weight random."""
    model = DiTTransformer2DModel(
        num_attention_heads=config.num_heads,
        attention_head_dim=config.hidden_size // config.num_heads,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        num_layers=config.depth,
        sample_size=config.input_size,
        patch_size=config.patch_size,
        num_embeds_ada_norm=config.num_classes,
    )
    randomise(model, std=0.05)
    if shared_embedders:
        share_embedders(model)
    return model.eval()


def pipeline(model: DiTTransformer2DModel) -> DiTPipeline:
    """Return diffusers' pipeline around the model, with a tiny random autoencoder of 8x down-sampling."""
    scheduler = DDIMScheduler(clip_sample=False)
    result = DiTPipeline(transformer=model, vae=random_vae(), scheduler=scheduler)
    result.set_progress_bar_config(disable=True)
    return result


def save_folder(
    folder: Path, config: DiTConfig, *, pickled: bool = False, shard: str = "10GB", shared_embedders: bool = True
) -> DiTPipeline:
    """Write a folder of diffusers' layout, as .bin if pickled, in shards of at most `shard`; return the pipeline."""
    whole = pipeline(transformer(config, shared_embedders=shared_embedders))
    whole.save_pretrained(folder, safe_serialization=not pickled, max_shard_size=shard)
    names = {str(i): f"name {i}, other name {i}" for i in range(config.num_classes)}
    edit_json(
        folder / "model_index.json", id2label=names
    )  # as the published folders have it; diffusers does not write it
    return whole


def name_as_published(folder: Path) -> None:
    """Rewrite a folder's class names and config to those of the published repositories (diffusers 0.12)."""
    edit_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    edit_json(
        folder / "transformer" / "config.json",
        norm_eps=None,
        _class_name="Transformer2DModel",
        _diffusers_version="0.12.0.dev0",
        cross_attention_dim=...,
        num_vector_embeds=...,
        only_cross_attention=False,
        use_linear_projection=False,
    )


def edit_json(path: Path, **changes: object) -> None:
    """Set entries of a JSON file; None removes one, ... sets null."""
    value = json.loads(path.read_text(encoding="utf-8"))
    value |= {key: None if change is ... else change for key, change in changes.items()}
    for key in [key for key, change in changes.items() if change is None]:
        del value[key]
    path.write_text(json.dumps(value), encoding="utf-8")


def main() -> None:
    """Write one checkpoint of random weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", choices=tuple(SIZES), default="XL")
    parser.add_argument("--patch", type=int, default=2)
    parser.add_argument("--latent", type=int, default=32)
    args = parser.parse_args()
    depth, width, heads = SIZES[args.size]
    write(args.kind, args.target, DiTConfig(args.latent, args.patch, 4, width, depth, heads))


def write(kind: str, target: Path, config: DiTConfig) -> None:
    """Write one checkpoint of one of KINDS."""
    if kind in ("folder", "bin"):
        save_folder(target, config, pickled=kind == "bin")
    elif kind == "safetensors":
        save_file(original_state(config), target)
    else:
        torch.save(original_state(config) if kind == "pt" else training_checkpoint(config), target)


if __name__ == "__main__":
    main()
