"""models/training/saving.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from dit_serve.models.errors import CheckpointError
from dit_serve.models.training import saving
from dit_serve.models.training.saving import copy_folder, replacing


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    for text in ("1", "2"):
        with replacing(path) as partial:
            partial.write_text(text)
    assert path.read_text() == "2"
    assert os.listdir(path.parent) == ["a"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("No space left\nat file.cc")])
def test_what_breaks_off_leaves_the_old_file(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(CheckpointError, match=r"a: cannot be written \(No space left.*\): make room"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_disk_that_torch_finds_full_is_a_sentence(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "a") as partial:
            partial.symlink_to("/dev/full")
            torch.save({"a": torch.zeros(100_000)}, partial)

    with pytest.raises(CheckpointError, match="cannot be written"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_copied_in_part_lacks_its_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "parts").mkdir(parents=True)
    for name in ("config.json", "weights", "parts/z"):
        (source / name).write_text(name)
    copyfile = shutil.copyfile

    def full(file: Path, to: Path) -> None:
        if file.name == "weights":
            raise OSError(28, "No space left on device")
        copyfile(file, to)

    monkeypatch.setattr(saving.shutil, "copyfile", full)
    with pytest.raises(CheckpointError):
        copy_folder(source, target, last="config.json")
    assert not (target / "config.json").exists()
    monkeypatch.undo()
    copy_folder(source, target, last="config.json")
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
        "config.json", "weights"
    ]  # fmt: skip
