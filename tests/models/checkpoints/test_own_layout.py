"""Checkpoints of our own layout, of blocks that the others have no names for: opened in every form, or refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.architecture import Conditioned
from dit_serve.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiT
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, edit_json, original_state, transformer
from tests.models.conditioned import OTHERS, save_conditioned

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(params=OTHERS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, DiT]:
    folder = tmp_path / "my-model"
    return folder, save_conditioned(folder, request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of one kind, for what is the same in all."""
    save_conditioned(tmp_path / "my-model", "cross-attention")
    return tmp_path / "my-model"


def assert_holds(opened: Checkpoint, model: DiT) -> None:
    assert (opened.config, opened.layout) == (model.config, "dit-serve")
    state = load_dit(opened, device=torch.device("cpu"), dtype=torch.float32).state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_a_folder_is_opened_and_so_are_its_transformer_and_what_lies_around_it(saved: tuple[Path, DiT]) -> None:
    folder, model = saved
    opened = open_checkpoint(folder)
    assert_holds(opened, model)
    assert (opened.name, opened.vae, opened.labels[3]) == ("my-model", folder / "vae", ("thing 3",))
    assert_holds(open_checkpoint(folder / "transformer"), model)
    around = folder.parent / "around" / "checkpoint-5"
    shutil.copytree(folder / "transformer", around / "transformer")
    assert_holds(open_checkpoint(around.parent), model)


def test_a_file_is_opened_with_the_config_beside_it(saved: tuple[Path, DiT], tmp_path: Path) -> None:
    folder, model = saved
    lone = tmp_path / "lone" / "mine.safetensors"
    lone.parent.mkdir()
    shutil.copy(folder / "transformer" / WEIGHTS, lone)
    with pytest.raises(CheckpointError, match="in the names of dit-serve, whose latent size and heads stand in config"):
        open_checkpoint(lone)
    shutil.copy(folder / "transformer" / "config.json", lone.parent)
    assert_holds(open_checkpoint(lone), model)
    lone.with_suffix(".json").write_text('{"num_classes": 9}')
    with pytest.raises(CheckpointError, match="num_classes 9 contradicts the model, which has 10"):
        open_checkpoint(lone)


def test_a_pickle_is_converted_first(tmp_path: Path) -> None:
    model = save_conditioned(tmp_path / "x", "cross-attention")
    path = tmp_path / "x" / "transformer" / "mine.pt"
    torch.save(load_file(path.with_name(WEIGHTS)), path)
    assert_holds(open_checkpoint(path), model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conditioning": "adaLN"}, "must be in-context or cross-attention or adaln, got 'adaLN': correct the file"),
        ({"conditioning": "adaln-zero"}, "got 'adaln-zero': correct the file"),
        ({"conditioning": None}, "got 'None': correct the file"),
        ({"conditioning": ["adaln"]}, "got \"\\['adaln'\\]\""),
        ({"conditioning": "x" * 5000}, "got 'x{80}': correct the file"),
        ({"conditioning": "adaln"}, "settings that cannot be honoured: norm_type=layer_norm"),
        ({"conditioning": "adaln", "norm_type": "ada_norm"}, "not a whole plain DiT; .* misshapen"),
        ({"conditioning": "in-context"}, "not a whole plain DiT; .* unexpected"),
        ({"attention_bias": True, "dropout": 0.0}, "cannot be honoured: attention_bias=True: choose"),
        ({"num_layers": 1000}, "not a whole plain DiT; .* missing"),
        ({"num_layers": 1001}, "cannot be honoured: num_layers=1001"),
        ({"sample_size": 512, "attention_head_dim": 4096}, "more than any latent has"),
        ({"_class_name": "DiTTransformer2DModel"}, "settings that cannot be honoured: conditioning=cross-attention"),
        ({"_class_name": "DiTServeTransformer3"}, "_class_name must be"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_a_sentence(
    folder: Path, change: dict[str, object], words: str
) -> None:
    edit_json(folder / "transformer" / "config.json", **change)
    with pytest.raises(CheckpointError, match=words) as caught:
        open_checkpoint(folder)
    assert str(caught.value).startswith(str(folder / "transformer"))
    assert len(str(caught.value).replace(str(folder), "")) < 300


@pytest.mark.parametrize(
    "entry", [["diffusers", "DiTServeTransformer"], ["os", "DiTServeTransformer"], ["dit_serve", "x"], None]
)
def test_an_index_that_names_another_class_is_refused(folder: Path, entry: list[str]) -> None:
    edit_json(folder / "model_index.json", transformer=entry)
    with pytest.raises(CheckpointError, match="transformer must be DiTTransformer2DModel or Transformer2DModel of "):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "name", ["modulation.weight", "blocks.1.cross_norm.bias", "embedder.label_table", "final.bias"]
)
def test_tensors_that_are_misshapen_missing_or_no_numbers_are_refused(folder: Path, name: str) -> None:
    path = folder / "transformer" / WEIGHTS
    state = load_file(path)
    for wrong in (state[name][..., None], state[name].repeat(2, *(1,) * (state[name].ndim - 1)), None):
        save_file({**state, name: wrong} if wrong is not None else {k: v for k, v in state.items() if k != name}, path)
        with pytest.raises(CheckpointError, match=r"1 tensors|not a DiT's weights"):
            open_checkpoint(folder)
    save_file({**state, name: state[name].int()}, path)
    with pytest.raises(CheckpointError, match=f"1 tensors not of a float type: {name} I32"):
        open_checkpoint(folder)
    save_file({**state, name: state[name] * torch.nan}, path)
    with pytest.raises(CheckpointError, match=f"1 tensors unusable: {name} holds NaN or infinity"):
        load_dit(open_checkpoint(folder), device=torch.device("cpu"), dtype=torch.float32)


def test_weights_in_other_names_do_not_pass_for_ours(folder: Path) -> None:
    for state in (original_state(TINY), transformer(TINY).state_dict()):
        save_file(dict(state), folder / "transformer" / WEIGHTS)
        with pytest.raises(CheckpointError, match="not a whole plain DiT"):
            open_checkpoint(folder)


@pytest.mark.parametrize("conditioning", OTHERS)
def test_nothing_is_built_for_a_config_whose_tensors_are_not_there(
    tmp_path: Path, conditioning: Conditioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes up to the bounds cost a list of names alone."""
    save_conditioned(tmp_path / "x", conditioning)
    monkeypatch.setattr("dit_serve.models.checkpoints.weights.DiT", None)
    edit_json(tmp_path / "x" / "transformer" / "config.json", num_layers=1000, num_embeds_ada_norm=10**6)
    with pytest.raises(CheckpointError, match="tensors missing"):
        open_checkpoint(tmp_path / "x")


def test_a_model_of_one_kind_is_not_another(tmp_path: Path) -> None:
    one, other = (save_conditioned(tmp_path / kind, kind).config for kind in ("in-context", "adaln"))
    assert one == replace(other, conditioning="in-context")
    shutil.copy(tmp_path / "in-context" / "transformer" / WEIGHTS, tmp_path / "adaln" / "transformer" / WEIGHTS)
    with pytest.raises(CheckpointError, match="unexpected"):
        open_checkpoint(tmp_path / "adaln")
