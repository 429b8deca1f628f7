"""models/training/export.py against our own reading of the folder and against diffusers' model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiTPipeline, DiTTransformer2DModel

from dit_serve.models.architecture import Conditioned
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.training.export import export_pipeline
from tests.models.conditioned import OTHERS, random_dit

SHARED = DiTConfig(input_size=8, hidden_size=48, depth=3, num_heads=4, num_classes=2, frequency_shift=1.0)
NAMES = ("otter", "newt")
CPU = torch.device("cpu")


@pytest.fixture(params=[SHARED, replace(SHARED, per_block_embedders=True)], ids=["shared", "per_block"])
def model(request: pytest.FixtureRequest) -> DiT:
    model = DiT(request.param)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def export(folder: Path, model: DiT) -> Path:
    export_pipeline(folder, model.config, model.state_dict(), Schedule(), NAMES, torch.float32)
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text("{}")
    return folder


def test_an_export_loads_to_the_same_bits(tmp_path: Path, model: DiT) -> None:
    opened = open_checkpoint(export(tmp_path, model))
    loaded = load_dit(opened, device=CPU, dtype=torch.float32)
    assert (opened.config, opened.labels) == (model.config, (("otter",), ("newt",)))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_diffusers_computes_the_same_from_an_export(tmp_path: Path, model: DiT) -> None:
    theirs = DiTTransformer2DModel.from_pretrained(export(tmp_path, model) / "transformer").eval()
    x, t, y = torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999]), torch.tensor([0, 1, 2])
    expected = theirs(x, timestep=t, class_labels=y).sample
    torch.testing.assert_close(model(x, t, y), expected, atol=1e-5, rtol=1e-4)  # the sums are of another order


@pytest.mark.parametrize("conditioning", OTHERS)
def test_an_export_of_other_blocks_loads_to_the_same_bits(tmp_path: Path, conditioning: Conditioned) -> None:
    model = random_dit(replace(SHARED, conditioning=conditioning, learn_sigma=False))
    opened = open_checkpoint(export(tmp_path, model))
    loaded = load_dit(opened, device=CPU, dtype=torch.float32)
    assert (opened.config, opened.layout, opened.labels) == (model.config, "dit-serve", (("otter",), ("newt",)))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("conditioning", OTHERS)
def test_diffusers_refuses_an_export_of_blocks_that_it_cannot_compute(
    tmp_path: Path, conditioning: Conditioned
) -> None:
    export(tmp_path, random_dit(replace(SHARED, conditioning=conditioning)))
    with pytest.raises(NotImplementedError, match="norm_type"):
        DiTTransformer2DModel.from_pretrained(tmp_path / "transformer")
    with pytest.raises(ValueError, match="has no class `DiTServeTransformer`"):
        DiTPipeline.from_pretrained(tmp_path, vae=AutoencoderKL())  # components come in an order that varies


def test_what_diffusers_cannot_compute_is_refused(tmp_path: Path) -> None:
    config = replace(SHARED, frequency_shift=0.0)
    with pytest.raises(ValueError, match="fixes frequency_shift at 1 and mlp_ratio at 4, got 0 and 4"):
        export_pipeline(tmp_path, config, DiT(config).state_dict(), Schedule(), NAMES, torch.float32)
