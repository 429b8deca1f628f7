"""checkpoints/checkpoint.py: each kind of checkpoint is recognised by content, and each wrong one refused in words."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.sampling.schedule import Schedule
from tests.models.checkpoints.written import (
    TINY,
    edit_json,
    name_as_published,
    original_state,
    save_folder,
    training_checkpoint,
)

NARROW = DiTConfig(input_size=8, hidden_size=384, depth=1, num_heads=6, num_classes=1000)
THEIRS = replace(TINY, frequency_shift=1.0, mlp_norm_eps=1e-5)
AUDIT = """
import sys, torch
from pathlib import Path
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.errors import CheckpointError
from dit_serve.models.checkpoints.weights import load_dit
events = []
def watch(event, args):
    if event in ("pickle.find_class", "os.system", "os.exec"):
        events.append(event)
    if event in ("exec", "import") and str(args[0]).find(sys.argv[1]) >= 0:
        events.append(event)
sys.addaudithook(watch)
for path in sys.argv[2:]:
    try:
        load_dit(open_checkpoint(path), device=torch.device("cpu"), dtype=torch.float32)
        print("loaded")
    except CheckpointError as error:
        print("refused")
print(events)
"""


@pytest.fixture(scope="module")
def _saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "my-model"
    torch.manual_seed(0)
    save_folder(folder, TINY)
    edit_json(folder / "scheduler" / "scheduler_config.json", steps_offset=1)
    return folder


@pytest.fixture
def folder(_saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_saved, tmp_path / "my-model"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_is_opened_with_all_that_it_says(folder: Path) -> None:
    found = open_checkpoint(folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    assert (found.name, found.layout, found.revision) == ("my-model", "diffusers", None)
    assert found.config == THEIRS
    assert found.schedule == Schedule(steps_offset=1)
    assert found.guidance_channels == 4
    assert found.labels[3] == ("name 3", "other name 3")
    assert found.weights == (weights,)
    assert found.vae == folder / "vae"
    assert found.sha256 == sha256(weights)


def test_a_folder_as_published_opens_the_same(folder: Path) -> None:
    found = open_checkpoint(folder)
    name_as_published(folder)
    assert open_checkpoint(folder) == found


def test_a_folder_without_names_has_none_or_imagenets(folder: Path) -> None:
    edit_json(folder / "model_index.json", id2label=None)
    assert open_checkpoint(folder).labels == ((),) * 10


def test_a_path_may_be_text_relative_and_end_in_a_slash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert open_checkpoint(".").name == "my-model"
    assert open_checkpoint(f"{folder}/").name == "my-model"


def test_a_folder_of_bin_is_converted_and_keeps_the_sum_of_what_was_given(tmp_path: Path, own_cache: Path) -> None:
    save_folder(tmp_path / "x", TINY, pickled=True)
    found = open_checkpoint(tmp_path / "x")
    source = tmp_path / "x" / "transformer" / "diffusion_pytorch_model.bin"
    assert found.weights == (own_cache / "converted" / sha256(source) / "whole.safetensors",)
    assert found.sha256 == sha256(source)
    assert found.config == THEIRS


def test_shards_are_summed_in_order_of_name(tmp_path: Path) -> None:
    save_folder(tmp_path / "x", TINY, shard="100KB")
    shards = sorted((tmp_path / "x" / "transformer").glob("*.safetensors"))
    found = open_checkpoint(tmp_path / "x")
    assert len(shards) > 2
    assert found.weights == tuple(shards)
    assert found.sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in shards)).hexdigest()


def test_a_transformers_folder_alone_is_opened_without_a_vae(folder: Path) -> None:
    found = open_checkpoint(folder / "transformer")
    assert (found.name, found.vae, found.schedule, found.labels) == ("transformer", None, Schedule(), ((),) * 10)
    assert found.config == THEIRS


def test_a_transformers_file_is_opened_with_the_config_beside_it(folder: Path, tmp_path: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    assert open_checkpoint(weights).config == THEIRS
    shutil.copy(weights, tmp_path / "lone.safetensors")
    with pytest.raises(
        CheckpointError, match=r"lone\.safetensors: .* put that file beside it, or give the whole folder"
    ):
        open_checkpoint(tmp_path / "lone.safetensors")


def test_an_original_file_is_opened_as_the_published_ones_are_used(tmp_path: Path) -> None:
    path = tmp_path / "DiT-S-2-64x64.safetensors"
    save_file(original_state(NARROW), path)
    found = open_checkpoint(path)
    assert (found.name, found.layout, found.vae, found.guidance_channels) == ("DiT-S-2-64x64", "original", None, 3)
    assert found.config == NARROW
    assert found.schedule == Schedule()
    assert found.labels[207][0] == "golden retriever"
    assert (found.weights, found.sha256) == ((path,), sha256(path))


def test_a_state_dict_and_a_training_checkpoint_are_opened(tmp_path: Path, own_cache: Path) -> None:
    torch.save(original_state(NARROW), tmp_path / "bare.pt")
    torch.save(training_checkpoint(NARROW), tmp_path / "0050000.pt")
    for path in (tmp_path / "bare.pt", tmp_path / "0050000.pt"):
        found = open_checkpoint(path)
        assert found.config == NARROW
        assert found.name == path.stem
        assert found.sha256 == sha256(path)
        assert found.weights[0].is_relative_to(own_cache)


def test_heads_come_from_the_training_arguments_or_a_file_beside(tmp_path: Path) -> None:
    torch.save(training_checkpoint(TINY, num_heads=4), tmp_path / "x.pt")
    assert open_checkpoint(tmp_path / "x.pt").config == TINY
    (tmp_path / "x.json").write_text('{"num_heads": 2}')
    assert open_checkpoint(tmp_path / "x.pt").config.num_heads == 2


def test_a_model_without_learned_sigma_and_with_one_channel_is_opened(tmp_path: Path) -> None:
    config = replace(NARROW, in_channels=1, learn_sigma=False, num_classes=7)
    save_file(original_state(config), tmp_path / "x.safetensors")
    found = open_checkpoint(tmp_path / "x.safetensors")
    assert found.config == config
    assert found.guidance_channels == 1
    assert found.labels == ((),) * 7


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "no such file or folder, and no hub id"),
        ("none.pt", "no such file or folder, and no hub id"),
        ("x/y.safetensors", "no such file or folder, and no hub id"),
        ("\0", "no such file or folder"),
        ("x" * 5000, "cannot be a path"),
    ],
)
def test_what_is_not_there_is_said(name: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(name)


def test_a_revision_of_a_local_folder_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="has no revision 'main'"):
        open_checkpoint(folder, revision="main")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds neither model_index\.json nor config\.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["transformer/config.json", "scheduler/scheduler_config.json", "vae/config.json", "transformer/*.safetensors"],
)
def test_a_folder_with_a_file_missing_is_refused_by_its_name(folder: Path, name: str) -> None:
    [path] = folder.glob(name)
    path.unlink()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert str(caught.value).startswith(str(path if path.suffix == ".json" and "vae" not in name else path.parent))


def test_a_shard_that_is_missing_or_a_pointer_is_refused_by_its_name(tmp_path: Path) -> None:
    save_folder(tmp_path / "x", TINY, shard="100KB")
    shard = sorted((tmp_path / "x" / "transformer").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"names files that are not there: {shard.name}"):
        open_checkpoint(tmp_path / "x")
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(CheckpointError, match=f"{shard.name}: a git-lfs pointer"):
        open_checkpoint(tmp_path / "x")


def test_tensors_that_do_not_fit_the_config_are_counted_and_some_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)  # a message has room for names, the shorter its file's is
    edit_json(folder / "transformer" / "config.json", num_embeds_ada_norm=11, num_layers=4)
    with pytest.raises(CheckpointError, match=r"19 tensors missing: .*; 3 tensors misshapen: .*") as caught:
        open_checkpoint(folder.name)
    assert "transformer_blocks.3.attn1.to_k.bias" in str(caught.value)
    assert "embedding_table.weight (11, 48) instead of (12, 48)" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_nothing_of_a_checkpoint_is_run_or_unpickled_here(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w')"
    shutil.copytree(folder, tmp_path / "with-code")
    (tmp_path / "with-code" / "transformer" / "diffusion_pytorch_model.py").write_text(code)
    torch.save(original_state(NARROW), tmp_path / "x.pt")
    paths = [str(folder), str(tmp_path / "with-code"), str(tmp_path / "x.pt")]
    child = subprocess.run(
        [sys.executable, "-c", AUDIT, str(tmp_path), *paths], capture_output=True, text=True, check=True
    )
    assert child.stdout.splitlines() == ["loaded", "refused", "loaded", "[]"]
    assert not mark.exists()


def test_a_trainers_folder_has_the_ema_or_the_model_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    for name in ("transformer", "transformer_ema"):
        shutil.copytree(folder / "transformer", tmp_path / "checkpoint-5" / name)
    for wanted, name in ((None, "transformer_ema"), ("ema", "transformer_ema"), ("model", "transformer")):
        assert open_checkpoint(tmp_path / "checkpoint-5", weights=wanted).source.parent.name == name
    with pytest.raises(CheckpointError, match="holds one model and no EMA of it"):
        open_checkpoint(tmp_path / "checkpoint-5" / "transformer", weights="ema")
