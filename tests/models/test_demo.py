"""The shipped demo models: small, whole, read by diffusers as by us, and good enough to be recognised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline

from dit_serve.models.demo import train_fashion
from dit_serve.models.demo.train import autoencoders, transformers
from dit_serve.models.evaluation.demo_quality import Generate, Pixels, measure
from dit_serve.models.evaluation.digits import DigitsJudge
from dit_serve.models.evaluation.fashion import load_fashion_network
from dit_serve.models.pipeline import Pipeline, load_pipeline
from dit_serve.models.registry import DEMOS, demo_path
from dit_serve.models.training.datasets import DIGIT_NAMES
from dit_serve.models.training.fashion import FASHION_NAMES

RECIPES = dict(
    zip(
        DEMOS,
        [
            *zip(autoencoders(Path()), transformers(Path()), strict=True),
            (train_fashion.autoencoder(Path()), train_fashion.transformer(Path())),
        ],
        strict=True,
    )
)
DIGITS = [name for name in DEMOS if name.startswith("digits")]
DEMO_FOLDER = Path(__file__).parents[2] / "models" / "demo"


@pytest.fixture(params=DEMOS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pipeline(name: str) -> Pipeline:
    return load_pipeline(name, device="cpu")


def _folder(name: str) -> Path:
    folder = demo_path(name)
    assert folder is not None
    return folder


def test_all_demo_files_fit_in_twenty_eight_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEMO_FOLDER.rglob("*") if path.is_file()) <= 28_000_000


def test_the_model_of_clothes_fits_in_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in _folder("fashion-64").rglob("*") if path.is_file()) <= 12_000_000


def test_demo_folder_holds_what_diffusers_expects_and_nothing_that_runs(name: str) -> None:
    files = {str(path.relative_to(_folder(name))) for path in _folder(name).rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_demo_names_its_classes(name: str) -> None:
    labels = json.loads((_folder(name) / "model_index.json").read_text())["id2label"]
    assert tuple(labels[str(i)] for i in range(10)) == (DIGIT_NAMES if name in DIGITS else FASHION_NAMES)


def test_demo_has_the_shape_that_its_recipe_says(name: str, pipeline: Pipeline) -> None:
    autoencoder, recipe = RECIPES[name]
    config = pipeline.model.config
    assert pipeline.info.resolution == recipe.resolution == autoencoder.resolution
    assert (config.hidden_size, config.depth, config.num_heads) == (recipe.hidden_size, recipe.depth, recipe.num_heads)
    assert (config.patch_size, config.num_classes) == (recipe.patch_size, 10)
    assert config.in_channels == autoencoder.latent_channels
    assert not config.per_block_embedders


def test_diffusers_makes_the_same_picture(name: str) -> None:
    ours_in_float32 = load_pipeline(name, device="cpu", dtype="float32")
    theirs = DiTPipeline.from_pretrained(_folder(name), low_cpu_mem_usage=False)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    # unguided: diffusers' pipeline takes the null class to be 1000 in every model
    image = theirs([3], guidance_scale=1.0, generator=generator, num_inference_steps=10, output_type="np").images[0]
    ours = cast(list[Pixels], ours_in_float32.generate([3], [5], steps=10, guidance_scale=1.0))[0]
    assert np.abs((image * 255).round() - ours).max() <= 1


@pytest.mark.parametrize("name", DIGITS)
def test_digits_are_recognised_as_the_class_asked_for(pipeline: Pipeline) -> None:
    # of 1,000 images at least 97 % are; 60 images leave room for chance
    assert measure(_generate(pipeline), DigitsJudge(), 4.0, 60).recognised >= 0.93


@pytest.mark.parametrize("name", ["fashion-64"])
def test_clothes_are_recognised_as_the_class_asked_for(pipeline: Pipeline) -> None:
    class_ids = [i % 10 for i in range(60)]
    images = np.stack(_generate(pipeline)(class_ids, range(60), 4.0))
    found = load_fashion_network()(torch.from_numpy(images).permute(0, 3, 1, 2)).probabilities.argmax(1)
    # of 2,000 images more than 96 % are; 60 images leave room for chance
    assert float((found == torch.tensor(class_ids)).float().mean()) >= 0.9


def _generate(pipeline: Pipeline) -> Generate:
    def generate(class_ids: Sequence[int], seeds: Sequence[int], guidance_scale: float) -> list[Pixels]:
        images = pipeline.generate(class_ids, seeds, steps=20, guidance_scale=guidance_scale)
        return cast(list[Pixels], images)

    return generate
