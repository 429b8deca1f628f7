"""Our DiT and our sampling against diffusers', with random weights and gates, from the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from dit_serve import load_pipeline
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.registry import PATCHES, SIZES
from tests.models.checkpoints.folders import random_transformer, save_folder, share_embedders


def relative_error(transformer: DiTTransformer2DModel, folder: Path, rows: int = 2) -> float:
    """Return the largest difference of the two forwards over the largest output."""
    transformer.save_pretrained(folder / "transformer")
    checkpoint = open_checkpoint(folder / "transformer")
    model = load_dit(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    x = torch.randn(rows, 4, checkpoint.config.input_size, checkpoint.config.input_size)
    t, y = torch.randint(0, 1000, (rows,)), torch.randint(0, checkpoint.config.num_classes + 1, (rows,))
    with torch.inference_mode():
        ours = model(x, t, y)
        theirs = transformer(x, timestep=t, class_labels=y).sample
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("size", ["S", "B", "L", "XL"])
def test_forward_equals_diffusers_for_every_variants_shape(size: str, patch: int, tmp_path: Path) -> None:
    _, width, heads = SIZES[size]
    transformer = random_transformer(
        heads=heads, head_size=width // heads, depth=1, side=16, patch=patch, classes=10
    )
    # random weights of 0.08 are wild at width 1152: keep activations of order one, as trained weights do
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(0.25)
    assert relative_error(transformer, tmp_path) <= 1e-5


@pytest.mark.parametrize("is_shared", [True, False])
def test_forward_equals_diffusers_with_embedders_shared_and_per_block(is_shared: bool, tmp_path: Path) -> None:
    transformer = random_transformer(depth=3)
    if is_shared:
        share_embedders(transformer)
    assert relative_error(transformer, tmp_path, rows=5) <= 1e-5
    assert open_checkpoint(tmp_path / "transformer").config.per_block_embedders is not is_shared


def diffusers_pipeline(folder: Path) -> DiTPipeline:
    pipeline = DiTPipeline(
        DiTTransformer2DModel.from_pretrained(folder / "transformer"),
        AutoencoderKL.from_pretrained(folder / "vae"),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("settings", [{}, {"timestep_spacing": "trailing"}, {"clip_sample": True}], ids=str)
def test_a_whole_sampling_gives_diffusers_pictures_from_the_same_seeds(
    cfg: float, settings: dict[str, object], tmp_path: Path
) -> None:
    folder = save_folder(tmp_path / "model", random_transformer(depth=2), **settings)
    classes, seeds = [3, 999, 0], [5, 6, 2**40]
    pipeline = load_pipeline(folder, device="cpu", dtype="float32")
    ours = pipeline.generate(classes, seeds, steps=12, guidance_scale=cfg)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    theirs = diffusers_pipeline(folder)(classes, cfg, generators, 12, output_type="np").images
    difference = np.abs(np.stack(ours).astype(float) - 255 * theirs)
    assert difference.max() <= 1.0  # of 255
    assert np.ptp(theirs) > 0.05  # a picture, not one colour
