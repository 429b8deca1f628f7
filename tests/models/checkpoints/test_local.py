"""models/checkpoints/local.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.convert import convert
from dit_serve.models.checkpoints.local import find_by_sha256
from dit_serve.models.registry import demo_path
from tests.models.checkpoints.written import TINY, original_state


def test_a_demo_is_found() -> None:
    folder = demo_path("digits-64")
    assert folder is not None
    assert find_by_sha256(open_checkpoint(folder).sha256) == folder


def test_a_pipeline_that_was_opened_is_found_by_its_folder(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    sha256 = open_checkpoint(copy).sha256
    assert find_by_sha256(sha256) == copy
    assert find_by_sha256(sha256[::-1]) is None


def test_what_changed_since_is_not_found(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    sha256 = open_checkpoint(copy).sha256
    (weights,) = copy.glob("transformer/*.safetensors")
    weights.write_bytes(weights.read_bytes())
    assert find_by_sha256(sha256) is None


def test_a_conversion_is_found_by_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "x.pt", tmp_path / "y.safetensors"
    torch.save(original_state(TINY), source)
    for path in (source, target):
        path.with_suffix(".json").write_text('{"num_heads": 4}')
    sha256 = open_checkpoint(source).sha256
    assert find_by_sha256(sha256) == source
    convert(source, target)
    assert open_checkpoint(target).sha256 == sha256
    source.unlink()
    assert find_by_sha256(sha256) == target


@pytest.mark.parametrize("sha256", ["", "x", "../../../etc/passwd", "F" * 64, "0" * 63 + "\n"])
def test_what_is_no_sum_is_not_looked_for(sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_serve.models.checkpoints.local.known_sums", pytest.fail)
    assert find_by_sha256(sha256) is None
