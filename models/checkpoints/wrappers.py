"""Stub: the identity, until the module of the same name is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dit_serve.models.checkpoints.tensor_files import StoredTensor, read_metadata

Weights = Literal["model", "ema"]


@dataclass(frozen=True, slots=True)
class Selected:
    """The tensors of one model in a file."""

    found: dict[str, StoredTensor]
    which: str = ""
    prefix: str = ""
    left_out: tuple[str, ...] = ()


def select(found: Mapping[str, StoredTensor], wanted: str | None, where: object) -> Selected:
    """Return all tensors."""
    return Selected(dict(found))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header says beside the tensors."""

    args: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    source_sha256: str | None = None
    which: str = ""
    prefix: str = ""


def read_facts(path: Path) -> Facts:
    """Return what the header says."""
    metadata = read_metadata(path)
    args = json.loads(metadata.get("args", "{}"))
    if metadata.get("num_heads", "").isdigit():  # of conversions by earlier versions
        args = {"num_heads": int(metadata["num_heads"]), **args}
    return Facts(args, metadata.get("source_sha256"), metadata.get("weights", ""))
