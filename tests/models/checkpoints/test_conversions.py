"""What stays in the cache of a conversion, and what somebody has put there; the child itself: test_convert.py."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.convert import Conversions, ensure_safetensors
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.fuzz.forked import Forks
from tests.models.checkpoints.written import TINY, edit_json, original_state, save_folder


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is a fork of this process: it has torch already."""
    monkeypatch.setattr("dit_serve.models.checkpoints.convert.subprocess.run", Forks().convert)


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    torch.save(original_state(TINY), tmp_path / "x.pt")
    return tmp_path / "x.pt"


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "converted").rglob("*") if path.is_file())


def test_of_tensors_that_are_no_dits_nothing_is_written(tmp_path: Path, own_cache: Path) -> None:
    for name, shape in (("blocks.0.attn.qkv.weight", (3, 3)), ("blocks.0.attn.other.weight", (3,))):
        torch.save(original_state(TINY) | {name: torch.zeros(shape)}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=r"x\.pt: not a whole plain DiT; 1 tensors") as caught:
            ensure_safetensors(tmp_path / "x.pt")
        assert len(str(caught.value)) < 300
        assert kept(own_cache) == []


def test_names_that_would_move_a_terminal_are_refused(tmp_path: Path, own_cache: Path) -> None:
    torch.save(original_state(TINY) | {"opt\x1b[2J\n": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"a tensor whose name is of what is not printed, opt\\x1b"):
        ensure_safetensors(tmp_path / "x.pt")
    assert kept(own_cache) == []


def test_a_conversion_of_what_is_refused_after_all_does_not_stay(pickled: Path, own_cache: Path) -> None:
    with pytest.raises(CheckpointError, match="the number of attention heads is not in the weights"):
        open_checkpoint(pickled)
    assert kept(own_cache) == []


def test_neither_does_that_of_a_folders_file(tmp_path: Path, own_cache: Path) -> None:
    save_folder(tmp_path / "model", TINY, pickled=True)
    edit_json(tmp_path / "model" / "transformer" / "config.json", num_layers=2)
    with pytest.raises(CheckpointError, match="not a whole plain DiT"):
        open_checkpoint(tmp_path / "model")
    assert kept(own_cache) == []


def test_a_conversion_that_was_there_before_stays(pickled: Path, own_cache: Path) -> None:
    made = ensure_safetensors(pickled)
    with pytest.raises(CheckpointError, match="attention heads"):
        open_checkpoint(pickled)
    assert made.exists()


def test_what_others_raise_takes_no_conversion_away(pickled: Path, own_cache: Path) -> None:
    conversions = Conversions()
    made = conversions.ensure(pickled)
    conversions.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert made.exists()


@pytest.mark.parametrize("name", ["dit.safetensors", "dit.safetensors.manifest.json", ".lock"])
@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_what_somebody_has_put_in_the_place_of_ours_is_refused_and_left(
    pickled: Path, own_cache: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    precious = pickled.with_name("precious")
    precious.write_text("precious")
    folder = own_cache / "converted" / hashlib.sha256(pickled.read_bytes()).hexdigest()
    folder.mkdir(parents=True)
    plant(precious, folder / name)
    with pytest.raises(CheckpointError, match=r"is a link|has a second name"):
        ensure_safetensors(pickled)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("is_leaf", [True, False])
def test_a_folder_that_is_a_link_is_not_written_to(pickled: Path, own_cache: Path, is_leaf: bool) -> None:
    folder = own_cache / "converted"
    folder = folder / hashlib.sha256(pickled.read_bytes()).hexdigest() if is_leaf else folder
    folder.parent.mkdir(parents=True)
    (pickled.parent / "elsewhere").mkdir()
    folder.symlink_to(pickled.parent / "elsewhere")
    with pytest.raises(CheckpointError, match="is a link"):
        ensure_safetensors(pickled)
    assert not list((pickled.parent / "elsewhere").iterdir())
