"""What a converted weights file must be: its size and SHA-256, written down once and compared at each load.

    model.safetensors   model.safetensors.manifest.json

A disk that rots, a copy that was cut short or a hand that changed a number is found before an image is made of it. A
file without a manifest is taken as it is: its own format is checked elsewhere (tensor_files.py).

Knows no tensor and no pickle. The sum says that a file is the one which was converted, not that it is to be trusted:
who can write the file can write its manifest.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from dit_serve.models.checkpoints.cache import read_sha256
from dit_serve.models.checkpoints.files import read_json, reason
from dit_serve.models.checkpoints.trust import create, written_whole
from dit_serve.models.errors import CheckpointError

FORMAT = 1


def manifest_path(weights: Path) -> Path:
    """Return where the manifest of a weights file is, whether or not there is one."""
    return weights.with_name(f"{weights.name}.manifest.json")


def write_manifest(weights: Path, source: Path, source_sha256: str) -> None:
    """Write down what a file is, and what it was made from and with; whole or not at all.

    Raises:
        CheckpointError: the file cannot be read, or its manifest not be written.
    """
    manifest = {
        "format": FORMAT,
        "files": {weights.name: {"bytes": _size(weights), "sha256": read_sha256(weights)}},
        "source": {"name": source.name, "sha256": source_sha256},
        "made_by": {name: _version(name) for name in ("dit-serve", "torch")},
    }
    path = manifest_path(weights)
    try:
        with written_whole(path) as partial, open(create(partial), "w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({reason(error)}): make room") from error


def check_manifest(weights: Path) -> None:
    """Refuse a weights file that is not what its manifest says; one without a manifest passes.

    Every byte is read, at 1 to 2 GB a second; the sum is kept, so that it is not computed again for the receipts.

    Raises:
        CheckpointError: names the file, what was expected and what was found.
    """
    path = manifest_path(weights)
    if not path.exists():
        return
    expected = _expected(path, weights.name)
    size = _size(weights)
    found = (size, read_sha256(weights) if size == expected[0] else "not computed")
    if found != expected:
        raise CheckpointError(
            f"{weights}: not the file that was converted: expected {expected[0]} bytes, SHA-256 {expected[1]}, "
            f"found {found[0]} bytes, SHA-256 {found[1]}: remove it and its manifest, then convert it again"
        )


def _expected(path: Path, name: str) -> tuple[int, str]:
    """Size and sum of the file that the manifest names."""
    manifest = read_json(path)
    files = manifest.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    if manifest.get("format") == FORMAT and isinstance(entry, dict):
        size, sha256 = entry.get("bytes"), entry.get("sha256")
        if type(size) is int and isinstance(sha256, str):
            return size, sha256
    raise CheckpointError(f"{path}: no manifest of {name}: remove both files, then convert again")


def _size(weights: Path) -> int:
    try:
        return weights.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read ({reason(error)}): give a readable file") from error


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from a tree that is not installed
        return "unknown"
