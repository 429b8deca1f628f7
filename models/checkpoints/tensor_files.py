"""The tensors in safetensors files: what is stored, seen from the headers alone, and each one read when it is needed.

Knows no model and no layout. Reading a tensor maps its file anew and lets go of the mapping with the tensor, so that
walking through a file of many gigabytes keeps one tensor of it in memory, not all that were seen.

References: the safetensors format (https://github.com/huggingface/safetensors); sharded checkpoints and their
*.index.json as diffusers and transformers write them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dit_serve.models.checkpoints.files import read_head, read_json, read_start, reason, weights_kind
from dit_serve.models.errors import CheckpointError, listed, printable

MOST_HEADER_BYTES = 4 << 20  # of a safetensors file; one of a thousand tensors has 100,000
MOST_SHARDS, MOST_NAME = 10_000, 1000  # files, and characters of a tensor's name
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in a file, not read yet; dtype is safetensors' name of it, such as F32."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def read_headers(paths: Iterable[Path]) -> dict[str, StoredTensor]:
    """Return all tensors in the files, by name.

    Raises:
        CheckpointError: a file is no whole safetensors file, or two hold a tensor of the same name.
    """
    found: dict[str, StoredTensor] = {}
    for path in paths:
        _refuse_other_kinds(path)
        try:
            with safe_open(path, framework="pt") as file:
                entries = [_entry(file, path, name) for name in file.keys()]
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, error) from error
        refuse_names((entry.name for entry in entries), path)
        twice = sorted(entry.name for entry in entries if entry.name in found)
        if twice:
            raise CheckpointError(
                f"{path}: holds {len(twice)} tensors that another shard holds too: {listed(twice)}"
            )
        found |= {entry.name: entry for entry in entries}
    return found


def refuse_names(names: Iterable[str], where: object) -> None:
    """Refuse tensors whose names would do something on a terminal, or have no end: no program calls a tensor so.

    Raises:
        CheckpointError: says the first of them.
    """
    for name in names:
        if not name.isprintable() or len(name) > MOST_NAME:
            fault = f"longer than {MOST_NAME} characters" if name.isprintable() else "of what is not printed"
            raise CheckpointError(
                f"{where}: holds a tensor whose name is {fault}, {printable(name, 60)}: do not use this file"
            )


def read_metadata(path: Path) -> dict[str, str]:
    """Return the free text entries in a file's header.

    Raises:
        CheckpointError: the file is no whole safetensors file.
    """
    _refuse_other_kinds(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_tensor(stored: StoredTensor) -> torch.Tensor:
    """Return a tensor as a view of its mapped file: (shape) in its own dtype, on the CPU, not to be written to.

    Raises:
        CheckpointError: the file changed since its header was read.
    """
    try:
        with safe_open(stored.path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(stored.name)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(stored.path, error) from error
    if tuple(tensor.shape) != stored.shape:
        raise CheckpointError(f"{stored.path}: was changed while it was read: wait until it is written, then try again")
    return tensor


def shard_paths(index: Path) -> tuple[Path, ...]:
    """Return the files that a *.index.json names, sorted by name; they lie beside it.

    Raises:
        CheckpointError: it names none, or something else than a plain file name of its own folder.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: has no weight_map of tensor names to files: download it again")
    names = {name for name in weight_map.values() if isinstance(name, str) and _PLAIN_NAME.fullmatch(name)}
    if len(names) > MOST_SHARDS:
        raise CheckpointError(f"{index}: weight_map names {len(names)} files, more than a model has: give another one")
    refused = sorted({str(name)[:80] for name in weight_map.values() if not isinstance(name, str) or name not in names})
    if refused:
        raise CheckpointError(
            f"{index}: weight_map names {listed(map(repr, refused), 60)}, and a shard must be a file beside it, "
            "named by letters, digits, '.', '-' and '_': do not use this checkpoint"
        )
    return tuple(index.parent / name for name in sorted(names))


def _entry(file: Any, path: Path, name: str) -> StoredTensor:
    stored = file.get_slice(name)
    return StoredTensor(path, name, tuple(stored.get_shape()), str(stored.get_dtype()))


def _refuse_other_kinds(path: Path) -> None:
    if weights_kind(path) != "safetensors":
        raise CheckpointError(
            f"{path}: written by torch.save, and only safetensors are read: convert it (`dit convert`)"
        )
    _check_header(path)


def _check_header(path: Path) -> None:
    """Refuse a header that is larger than a model's, or has a tensor twice, of which each reader sees another one."""
    size = int.from_bytes(read_head(path)[:8], "little")
    if size > MOST_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: a damaged safetensors file, its header would have {size} bytes and no model's has more than "
            f"{MOST_HEADER_BYTES}: copy it anew, or do not use it"
        )
    try:
        pairs: list[tuple[str, Any]] = json.loads(read_start(path, 8 + size)[8:], object_pairs_hook=list)
        names = Counter(name for name, _ in pairs)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if twice := [name for name, count in names.items() if count > 1]:
        raise CheckpointError(f"{path}: holds a tensor twice, {printable(twice[0], 60)}: do not use this file")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    words = printable(reason(error), 120)
    return CheckpointError(f"{path}: a truncated or damaged safetensors file ({words}): download it again")
