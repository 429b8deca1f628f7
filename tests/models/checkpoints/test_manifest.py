"""models/checkpoints/manifest.py: a weights file that is not what was converted is refused before it is used."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from dit_serve.models.checkpoints import cache
from dit_serve.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from dit_serve.models.checkpoints.convert import convert, ensure_safetensors
from dit_serve.models.checkpoints.manifest import check_manifest, manifest_path
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    torch.save(original_state(TINY), tmp_path / "x.pt")
    return tmp_path / "x.pt"


def damage(path: Path) -> None:
    """Change one bit of the last tensor; size and times stay as they are."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        [last] = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_conversion_writes_down_what_it_made_from_what_and_with_what(pickled: Path) -> None:
    made = ensure_safetensors(pickled)
    manifest = json.loads(manifest_path(made).read_text())
    content = made.read_bytes()
    assert manifest["files"] == {made.name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    assert manifest["source"] == {"name": "x.pt", "sha256": hashlib.sha256(pickled.read_bytes()).hexdigest()}
    assert manifest["made_by"].keys() == {"dit-serve", "torch"}


def test_a_converted_file_of_which_one_bit_changed_is_refused_at_the_next_load(pickled: Path) -> None:
    open_checkpoint_with_heads(pickled)
    made = ensure_safetensors(pickled)
    before = hashlib.sha256(made.read_bytes()).hexdigest()
    damage(made)
    after = hashlib.sha256(made.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint_with_heads(pickled)
    for told in (str(made), before, after, "not the file that was converted"):
        assert told in str(caught.value)


def test_a_file_beside_its_manifest_is_checked_wherever_it_lies(pickled: Path, tmp_path: Path) -> None:
    convert(pickled, tmp_path / "y.safetensors")
    open_checkpoint_with_heads(tmp_path / "y.safetensors")
    damage(tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match=r"y\.safetensors: not the file that was converted"):
        open_checkpoint_with_heads(tmp_path / "y.safetensors")


def test_a_file_of_another_size_is_refused_unread(pickled: Path) -> None:
    made = ensure_safetensors(pickled)
    size = made.stat().st_size
    os.truncate(made, size - 1)
    told = f"expected {size} bytes, .* found {size - 1} bytes, SHA-256 not computed"
    with pytest.raises(CheckpointError, match=told):
        ensure_safetensors(pickled)


def test_a_file_without_a_manifest_passes(tmp_path: Path) -> None:
    check_manifest(tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1, "files": []}', '{"format": 2, "files": {}}'])
def test_a_broken_manifest_is_refused(pickled: Path, text: str) -> None:
    made = ensure_safetensors(pickled)
    manifest_path(made).write_text(text)
    with pytest.raises(CheckpointError, match=r"dit\.safetensors\.manifest\.json"):
        ensure_safetensors(pickled)


def test_a_file_is_not_read_again_for_its_receipt(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(pickled, tmp_path / "y.safetensors")
    read: list[Path] = []
    feed = cache._feed
    monkeypatch.setattr(cache, "_feed", lambda digest, path: (read.append(path), feed(digest, path)))
    opened = open_checkpoint_with_heads(tmp_path / "y.safetensors")
    assert opened.sha256 == hashlib.sha256((tmp_path / "y.safetensors").read_bytes()).hexdigest()
    assert read == [tmp_path / "y.safetensors"]


def open_checkpoint_with_heads(path: Path) -> Checkpoint:
    path.with_suffix(".json").write_text(json.dumps({"num_heads": TINY.num_heads}))
    return open_checkpoint(path)
