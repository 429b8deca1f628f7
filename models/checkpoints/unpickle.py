"""A program that turns one pickle of torch.save into one safetensors file. The only place where a pickle is opened.

    python -m dit_serve.models.checkpoints.unpickle SOURCE TARGET

convert.py runs it in a process of its own, so that whatever a pickle does, it does not do it where images are made.
It allows tensors, plain containers and argparse.Namespace (the `args` in checkpoints of the published train.py), and
nothing else. The source is mapped, tensors are written one after another: nothing is held but the one being written.
It prints one line of JSON: {} or {"error": ...}.

References: torch.load's weights_only; the safetensors format (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dit_serve.models.checkpoints.files import reason

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class PickleRefused(Exception):
    """The source cannot be converted; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """Convert arguments[0] into arguments[1], print the outcome and return the exit status."""
    source, target = map(Path, arguments)
    try:
        unpickle(source, target)
    except PickleRefused as error:
        print(json.dumps({"error": str(error)}))
        return 1
    except OSError as error:
        print(
            json.dumps({"error": f"cannot be converted ({reason(error)}): make room, or set DIT_CACHE to another disk"})
        )
        return 1
    print("{}")
    return 0


def unpickle(source: Path, target: Path) -> None:
    """Write the model's tensors of a state dict or training checkpoint into a new safetensors file.

    Raises:
        PickleRefused: the source is damaged, asks for code, or holds no model.
        OSError: the target cannot be written.
    """
    value = _load(source)
    tensors = _strided(_weights(value))
    heads = _heads(value.get("args")) if isinstance(value, dict) else None
    with target.open("wb") as file:
        write_safetensors(file, tensors, {} if heads is None else {"num_heads": str(heads)})
        file.flush()
        os.fsync(file.fileno())


def write_safetensors(file: BinaryIO, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors one after another; the same tensors give the same bytes.

    Raises:
        OSError: the disk is full, or the file cannot be written for another reason.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each begins aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in order:
        end = offset + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    for name in order:
        file.write(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _load(source: Path) -> Any:
    """The pickle's value, its tensors mapped where the format allows (not before torch 1.6)."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise PickleRefused(
                f"the pickle asks for {asked[1]}, which is code and not weights, and is refused: "
                "do not use this file, or save the state dict alone"
            ) from error
        raise PickleRefused(_damaged(error)) from error
    except Exception as error:  # a damaged file can raise anything while it is read
        raise PickleRefused(_damaged(error)) from error


def _weights(value: Any) -> dict[str, torch.Tensor]:
    """The state dict itself, or that under `ema`, else `model`, of a training checkpoint."""
    if not isinstance(value, dict):
        raise PickleRefused(f"holds a {type(value).__name__}, not a state dict: save model.state_dict()")
    for key in ("ema", "model"):
        if isinstance(value.get(key), dict):
            value = value[key]
            break
    strays = sorted(str(name) for name, tensor in value.items() if not isinstance(tensor, torch.Tensor))
    if strays or not value:
        listed = ", ".join(strays[:20]) or "nothing"
        raise PickleRefused(f"is neither a state dict nor a training checkpoint; beside tensors it holds {listed}")
    return {str(name): tensor.detach() for name, tensor in value.items()}


def _strided(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    refused = sorted(
        f"{name} ({tensor.dtype}, {tensor.layout})"
        for name, tensor in tensors.items()
        if tensor.layout is not torch.strided or tensor.dtype not in DTYPES or tensor.device.type != "cpu"
    )
    if refused:
        raise PickleRefused(f"holds tensors of a kind that is not converted: {', '.join(refused)}: save plain tensors")
    return tensors


def _heads(args: object) -> int | None:
    """The number of attention heads, where the training script's arguments name it."""
    heads = getattr(args, "num_heads", None)
    return heads if type(heads) is int and heads > 0 else None


def _damaged(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0][:200]
    return f"a truncated or damaged torch file ({type(error).__name__}: {first}): download it again"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
