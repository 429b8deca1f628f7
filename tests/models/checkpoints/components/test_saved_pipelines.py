"""Whole pipelines as diffusers' own save_pretrained writes them, opened and filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiTPipeline, DPMSolverMultistepScheduler
from diffusers.training_utils import EMAModel

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.components.vae_folder import read_autoencoder
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.errors import CheckpointError
from dit_serve.models.sampling.schedule import Schedule
from tests.models.checkpoints.written import TINY, edit_json, pipeline, transformer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole() -> DiTPipeline:
    torch.manual_seed(0)
    return pipeline(transformer(TINY)).to(torch.float16)


@pytest.fixture(scope="module")
def plain(whole: DiTPipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Every tensor of the pipeline as it is read from its plainest folder."""
    folder = tmp_path_factory.mktemp("plain")
    whole.save_pretrained(folder)
    return tensors(folder)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    opened = open_checkpoint(folder)
    assert isinstance(opened.vae, Path)
    autoencoder = read_autoencoder(opened.vae, device=CPU, dtype=torch.float32)
    return {**load_dit(opened, device=CPU, dtype=torch.float32).state_dict(), **autoencoder.state_dict()}


@pytest.mark.parametrize(
    "kept",
    [
        {"variant": "fp16"},
        {"variant": "fp16", "max_shard_size": "60KB"},
        {"max_shard_size": "60KB"},
        {"variant": "fp16", "safe_serialization": False},
    ],
    ids=str,
)
def test_a_pipeline_has_the_same_weights_however_it_is_saved(
    tmp_path: Path,
    whole: DiTPipeline,
    plain: dict[str, torch.Tensor],
    kept: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    whole.save_pretrained(tmp_path / "saved", **kept)
    assert not (tmp_path / "saved" / "transformer" / "diffusion_pytorch_model.safetensors").exists()
    found = tensors(tmp_path / "saved")
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


def test_a_pipeline_with_its_scheduler_exchanged_is_opened(tmp_path: Path, whole: DiTPipeline) -> None:
    scheduler = DPMSolverMultistepScheduler.from_config(whole.scheduler.config)
    DiTPipeline(whole.transformer, whole.vae, scheduler).save_pretrained(tmp_path)
    assert "-Infinity" in (tmp_path / "scheduler" / "scheduler_config.json").read_text()
    assert open_checkpoint(tmp_path).schedule == Schedule(timestep_spacing="linspace")


def test_a_pipeline_saved_without_autoencoder_and_scheduler_is_opened(tmp_path: Path, whole: DiTPipeline) -> None:
    DiTPipeline(whole.transformer, None, None).save_pretrained(tmp_path)
    found = open_checkpoint(tmp_path)
    assert (found.vae, found.schedule, found.config.hidden_size) == (None, Schedule(), TINY.hidden_size)


def test_a_trainers_folder_is_opened_under_its_own_name(tmp_path: Path, whole: DiTPipeline) -> None:
    folder = tmp_path / "runs" / "checkpoint-500"
    whole.transformer.save_pretrained(folder / "transformer")
    average = EMAModel(
        whole.transformer.parameters(), model_cls=type(whole.transformer), model_config=whole.transformer.config
    )
    average.save_pretrained(folder / "transformer_ema")
    (folder / "optimizer.bin").write_bytes(b"x")
    found = open_checkpoint(tmp_path / "runs")
    assert found.name == "runs"
    assert found.weights[0].parent == folder / "transformer_ema"
    assert open_checkpoint(folder).name == "checkpoint-500"


def test_an_average_of_an_autoencoder_is_read(tmp_path: Path, whole: DiTPipeline) -> None:
    average = EMAModel(whole.vae.parameters(), model_cls=type(whole.vae), model_config=whole.vae.config)
    average.save_pretrained(tmp_path / "vae_ema")
    found = read_autoencoder(tmp_path / "vae_ema", device=CPU, dtype=torch.float32)
    assert torch.equal(found.decoder.conv_in.weight, whole.vae.decoder.conv_in.weight.float())


@pytest.mark.parametrize("entry", [["diffusers", "AutoencoderTiny"], ["diffusers_modules", "AutoencoderKL"]])
def test_a_pipeline_with_another_autoencoder_is_refused_in_one_short_sentence(
    tmp_path: Path, whole: DiTPipeline, entry: list[str]
) -> None:
    whole.save_pretrained(tmp_path)
    edit_json(tmp_path / "model_index.json", vae=entry)
    with pytest.raises(CheckpointError, match="vae must be AutoencoderKL of diffusers, got") as caught:
        open_checkpoint(tmp_path)
    assert len(str(caught.value)) - len(str(tmp_path)) < 200
