"""The kinds of a checkpoint's files, told by their first bytes, and its small JSON files, read with care.

A CheckpointError says what a wrong file is: missing, empty, a git-lfs pointer, a web page. Knows no tensor and no
layout.

References: the safetensors format (https://github.com/huggingface/safetensors), the git-lfs pointer format,
torch.save's zip files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dit_serve.models.errors import CheckpointError

MAX_JSON_BYTES = 16 * 2**20  # the index of a huge sharded model has under 1 MB
_HEAD = 512
_PICKLE = b"\x80"  # the opcode PROTO, the first byte of every pickle that torch has written
_WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
_ZIP = b"PK\x03\x04"  # torch.save since 1.6
_OTHERS: Mapping[bytes, str] = {  # what people rename to .pt, by first bytes
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"BZh": "compressed with bzip2: unpack it",
    b"\xfd7zXZ": "compressed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\x89HDF": "an HDF5 file, of Keras or TensorFlow: export the weights as safetensors",
    b"\x93NUMPY": "a NumPy array: save the state dict with torch.save or as safetensors",
    b"GGUF": "a GGUF file: give the original safetensors or .pt",
    b"PK\x05\x06": "an empty zip archive: give the weights file itself",
}

Kind = Literal["safetensors", "pickle"]


def weights_kind(path: Path) -> Kind:
    """Return what a weights file is, by its content and not by its name.

    Raises:
        CheckpointError: it is neither safetensors nor something that torch.save wrote.
    """
    head = read_head(path)
    if _is_json(head):
        raise CheckpointError(
            f"{path}: JSON text, a site's answer or a config, and no weights: download the file by its direct link"
        )
    if head[8:9] == b"{":  # asked first: the length before it may look like anything
        return "safetensors"
    if head.startswith((_ZIP, _PICKLE)):
        return "pickle"
    if head[257:262] == b"ustar":
        raise CheckpointError(
            f"{path}: a tar archive: unpack it, or, where torch.save of before 2018 wrote it, save it again"
        )
    known = next((words for start, words in _OTHERS.items() if head.startswith(start)), None)
    if known:
        raise CheckpointError(f"{path}: {known}")
    raise CheckpointError(
        f"{path}: not a weights file, it begins with {head[:12]!r}: "
        "give a .safetensors file, a .pt or .bin, or a folder"
    )


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, having refused those that stand in for the file that is wanted.

    Raises:
        CheckpointError: the file is missing, unreadable, empty, a git-lfs pointer or a web page.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file: check the path, or download the checkpoint again") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path}: cannot be read, a folder where a weights file is expected: give the file in it"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}): give a readable file") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty: download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: a git-lfs pointer, not the file itself: "
            "run `git lfs pull` in its repository, or download the file"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_WEB_PAGES):
        raise CheckpointError(f"{path}: a web page (HTML or XML), not the file itself: download it by its direct link")
    return head


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a small file.

    Raises:
        CheckpointError: the file is missing, too large, or holds no JSON object.
    """
    read_head(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}): give a readable file") from error
    if len(raw) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: larger than {MAX_JSON_BYTES} bytes, no config is: download it again")
    try:
        value = json.loads(raw, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error}): download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: holds a {type(value).__name__} where a JSON object is expected: download it again"
        )
    return value


def _is_json(head: bytes) -> bool:
    """Whether a file begins as JSON text does and no safetensors file: the first eight bytes there are a length."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith((b"{", b"[")) and all(byte >= 32 or byte in b"\t\r\n" for byte in head[:8])


def printable(text: str, most: int = 80) -> str:
    """Return text from a file as one line that is safe on a terminal, cut to `most` characters."""
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: 4 * most])
    return safe if len(safe) <= most else f"{safe[: most - 1]}…"


def _finite(number: str) -> float:
    """A JSON number as a float; NaN, Infinity and what overflows to it are refused: no setting is that."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:40]} is no finite number")
    return value


def reason(error: Exception) -> str:
    """Return the system's words for an error, without the path that they would repeat."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
