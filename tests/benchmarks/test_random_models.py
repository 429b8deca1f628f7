"""Random checkpoints: both implementations load them, and what they compute stays in bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import load_file

from benchmarks.gpu.bench import TINY, Bench
from benchmarks.random_models import write_folder
from dit_serve import load_pipeline


def test_ours_and_diffusers_make_the_same_pictures_of_it(bench: Bench) -> None:
    folder = bench.folder(64)
    ours = load_pipeline(folder, device="cpu", dtype="float32").generate([1, 2], [0, 1], steps=8)
    theirs = DiTPipeline(
        DiTTransformer2DModel.from_pretrained(folder / "transformer", low_cpu_mem_usage=False),
        AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    theirs.set_progress_bar_config(disable=True)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in (0, 1)]
    images = (theirs([1, 2], 4.0, generators, 8, output_type="np").images * 255).round()
    assert np.abs(np.stack(ours) - images).max() <= 1  # float32 summed in another order, then rounded to 8 bits


@pytest.mark.parametrize("resolution", [64, 128])
def test_a_walk_of_fifty_steps_stays_in_bounds_and_has_contrast(bench: Bench, resolution: int) -> None:
    pipeline = load_pipeline(bench.folder(resolution), device="cpu", dtype="float32")
    assert pipeline.info.resolution == resolution
    latents = np.stack(pipeline.generate([0, 1], [0, 1], steps=50, output_type="latents"))
    images = np.stack(pipeline.generate([0, 1], [0, 1], steps=50))
    assert 0.3 < latents.std() < 10
    assert images.std() > 20


def test_no_gate_is_zero(bench: Bench) -> None:
    model = load_pipeline(bench.folder(64), device="cpu", dtype="float32").model
    vectors = model.modulations(torch.tensor([500]), torch.tensor([3]))[0]  # (6L + 2, D)
    gates = torch.stack([vectors[6 * block + 2 + 3 * branch] for block in range(2) for branch in range(2)])
    assert gates.abs().mean(1).min() > 0.05


def test_the_seed_decides_all_weights(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        write_folder(tmp_path / name, TINY.model, 8, seed, torch.device("cpu"))
        parts = (tmp_path / name / part / "diffusion_pytorch_model.safetensors" for part in ("transformer", "vae"))
        return {name: tensor for path in parts for name, tensor in load_file(path).items()}

    first, same, other = weights("first", 1), weights("same", 1), weights("other", 2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["proj_out_2.weight"], other["proj_out_2.weight"])
    assert not torch.equal(first["decoder.conv_in.weight"], other["decoder.conv_in.weight"])
