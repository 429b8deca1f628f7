"""The kinds of a checkpoint's files, told by their first bytes, and its small JSON files, read with care.

A CheckpointError says what a wrong file is: missing, empty, a git-lfs pointer, a web page. Knows no tensor and no
layout.

References: the safetensors format (https://github.com/huggingface/safetensors), the git-lfs pointer format,
torch.save's zip files.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dit_serve.models.errors import CheckpointError, printable

MAX_JSON_BYTES = 16 * 2**20  # the index of a huge sharded model has under 1 MB
_MOST_VALUES = 1_000_000  # in a JSON file: each takes some sixty bytes once it is read, whatever it takes in the file
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
        CheckpointError: it is neither safetensors nor something that torch.save wrote, or has a name that the readers
            of these do not take.
    """
    head = read_head(path)
    if str(path).encode("utf-8", "replace").decode() != str(path):  # bytes that are no text
        raise CheckpointError(f"{path}: the name of the file or of its folder is no text in UTF-8: rename it")
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
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe might never end
            raise CheckpointError(f"{path}: neither a regular file nor a folder: give one")
        head = read_start(path, _HEAD)
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


def read_start(path: Path, most_bytes: int) -> bytes:
    """Return the first bytes of a regular file; what else is there, or comes there meanwhile, is not waited for.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return file.read(most_bytes)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a small file; NaN and the infinities, which Python writes too, are read as floats.

    Raises:
        CheckpointError: the file is missing, too large, or holds no JSON object.
    """
    read_head(path)
    try:
        raw = read_start(path, MAX_JSON_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}): give a readable file") from error
    if len(raw) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: no config is larger than {MAX_JSON_BYTES} bytes: give the right file")
    if sum(map(raw.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise CheckpointError(f"{path}: no config has more than {_MOST_VALUES} values: give the right file")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({printable(error, 99)}): correct or replace it") from error
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: holds a {type(value).__name__} where a JSON object is expected: correct it"
        )
    return value


def read_config(path: Path) -> dict[str, Any]:
    """Return the JSON object in a config of diffusers', having refused the entries that ask a loader to import code.

    Raises:
        CheckpointError: see read_json; or it has such an entry.
    """
    config = read_json(path)
    asked = sorted({"custom_pipeline", "auto_map", "trust_remote_code"} & config.keys())
    if asked:
        raise CheckpointError(
            f"{path}: {', '.join(asked)} asks to run code, and a checkpoint's code is never run: "
            "choose a plain DiT checkpoint"
        )
    return config


def _is_json(head: bytes) -> bool:
    """Whether a file begins as JSON text does and no safetensors file: the first eight bytes there are a length."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith((b"{", b"[")) and all(byte >= 32 or byte in b"\t\r\n" for byte in head[:8])


def reason(error: Exception) -> str:
    """Return the system's words for an error, without the path that they would repeat."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
