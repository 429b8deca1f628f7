"""Damage to a checkpoint on disk: to bytes, headers, texts, pickles, tensors, or to which files there are."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.models.checkpoints.fuzz.pickles import damaged_pickle, damaged_zip
from tests.models.checkpoints.fuzz.texts import spoilt

FORMATS = ("F64", "F32", "F16", "BF16", "I8", "I64", "BOOL", "F8_E4M3", "F4", "C64", "", "f32", "U8" * 999)
STAND_INS = (
    b"", b"\n", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b"<!DOCTYPE html><html>",
    b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, b"\x80", b"\x80\x02", b"\x80\x02}.", b"\x80\x04N.", b"{}", b"[]",
    b"null", b"\x80\x04]\x94(K\x01e.",
    b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n", b"GGUF\x03\0\0\0", b"\0" * 4096, b"\x08\0\0\0\0\0\0\0{}      ",
    b"\xff" * 8 + b"{", b"Rar!\x1a\x07\x00", b"\x1f\x8b\x08\0", b"PE", b"\xef\xbb\xbf{}",
)
ODD_NAMES = ("", "x", "a\nb\x1b[31m", "x" * 5000, "\u202e", "..", "__metadata__", "a/b", "0")
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn)


def damage(folder: Path, rng: Random) -> str:
    """Change one to three things in a folder of sound files, and say which."""
    return ", then ".join(_damage_once(folder, rng) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def _damage_once(folder: Path, rng: Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files or rng.random() < 0.12:
        change = rng.choice(FILES)
        return f"{change.__name__.strip('_')} {change(folder, rng)}"
    path = rng.choice(files)
    name = path.relative_to(folder)
    raw = path.read_bytes()
    fit: list[Callable[[Random, bytes], bytes]] = [damaged_bytes]
    if path.suffix == ".json":
        fit = [_damaged_text] * 4 + fit
    elif raw[8:9] == b"{":
        fit += [_damaged_header] * 2 + [_damaged_header_text, _other_tensors, _other_tensors]
    elif raw[:2] == b"PK":
        fit += [damaged_zip] * 3 + [_other_pickled_tensors] * 2
    elif raw[:1] == b"\x80":
        fit += [damaged_pickle] * 3 + [_other_pickled_tensors]
    change_bytes = rng.choice(fit)
    try:
        path.write_bytes(change_bytes(rng, raw))
    except Exception as error:  # what an earlier change has left can be read by no means
        path.write_bytes(damaged_bytes(rng, raw))
        return f"damaged bytes of {name} ({type(error).__name__})"
    return f"{change_bytes.__name__.strip('_').replace('_', ' ')} of {name}"


def damaged_bytes(rng: Random, raw: bytes) -> bytes:
    """Bytes flipped, set, put in, left out, doubled or brought from elsewhere; most often near the beginning or end."""
    most = len(raw)
    head, tail = rng.randrange(min(most, 96) + 1), most - rng.randrange(min(most, 300) + 1)
    at = rng.choice([rng.randrange(most + 1), rng.randrange(most + 1), head, tail])
    length = rng.choice([1, 1, 2, 8, 64, rng.randrange(most + 1)])
    other = rng.randrange(most + 1)
    match rng.randrange(9):
        case 0 | 1 if at < most:
            return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]
        case 2:
            return raw[:at] + rng.randbytes(min(length, 64)) + raw[at + length :]
        case 3:
            return raw[:at] + rng.randbytes(min(length, 64)) + raw[at:]
        case 4:
            return raw[:at] + raw[at + length :]
        case 5:
            return raw[:at]
        case 6:
            return raw[:at] + raw[other : other + length] + raw[at:]
        case 7:
            return raw[:at] + raw[other : other + length] + raw[at + length :]
        case _:
            return raw[:at] + bytes(len(raw[at : at + length])) + raw[at + length :]


def _damaged_text(rng: Random, raw: bytes) -> bytes:
    return spoilt(rng, raw.decode()).encode("utf-8", "surrogatepass")


def _parted(raw: bytes) -> tuple[str, bytes]:
    """A safetensors file's header and data."""
    length = int.from_bytes(raw[:8], "little")
    return raw[8 : 8 + length].decode(), raw[8 + length :]


def _joined(header: str, data: bytes, said: int | None = None) -> bytes:
    text = header.encode("utf-8", "surrogatepass")
    return (len(text) if said is None else said).to_bytes(8, "little") + text + data


def _damaged_header_text(rng: Random, raw: bytes) -> bytes:
    text, data = _parted(raw)
    said = rng.choice([None, None, None, 0, 1, len(text) + 1, 2**31, 2**63, 2**64 - 1])
    return _joined(spoilt(rng, text), data, said)


def _damaged_header(rng: Random, raw: bytes) -> bytes:
    """Other formats, shapes and places of tensors: too many, too large, overlapping."""
    text, data = _parted(raw)
    header = json.loads(text)
    names = sorted(set(header) - {"__metadata__"})
    for _ in range(rng.randint(1, 3)):
        one, other = header[rng.choice(names)], header[rng.choice(names)]
        match rng.randrange(6):
            case 0:
                one["dtype"] = rng.choice(FORMATS)
            case 1:
                one["shape"] = [rng.choice([-1, 0, 1, 2, 3, 300, 2**31, 2**63, 2**64]) for _ in range(rng.randrange(5))]
            case 2:
                one["data_offsets"] = [rng.choice([0, 4, len(data), len(data) + 1, 2**63, -1]) for _ in range(2)]
            case 3:
                one["data_offsets"] = list(other["data_offsets"])
            case 4:
                one["shape"] = list(reversed(one["shape"]))
            case _:
                one["shape"], other["shape"] = other["shape"], one["shape"]
    return _joined(json.dumps(header), data)


def _changed(rng: Random, state: dict[Any, Any]) -> None:
    """Rename, remove, reshape, retype or spoil a few of a state dict's tensors."""
    for _ in range(rng.randint(1, 3)):
        tensors = sorted(name for name, value in state.items() if isinstance(value, torch.Tensor))
        if not tensors:
            return
        name = rng.choice(tensors)
        tensor = state.pop(name)
        match rng.randrange(8):
            case 0:
                name = rng.choice([*ODD_NAMES, name + ".", "module." + name, name.upper()])
            case 1:
                continue
            case 2:
                tensor = torch.zeros([rng.randrange(6) for _ in range(rng.randrange(5))])
            case 3:
                tensor = tensor.to(rng.choice(DTYPES))
            case 4:
                tensor = tensor.reshape(-1) if rng.random() < 0.5 else tensor[None]
            case 5:
                tensor = torch.full_like(tensor, rng.choice([float("nan"), float("inf"), 3e38]))
            case 6:
                tensor = tensor.repeat_interleave(2, 0) if tensor.ndim else tensor
            case _:
                tensor = tensor + 1
        state[name] = tensor


def _other_tensors(rng: Random, raw: bytes) -> bytes:
    with _scratch() as path:
        path.write_bytes(raw)
        state = load_file(path)
        _changed(rng, state)
        save_file(state, path, metadata={"num_heads": rng.choice(["1", "2", "0", "x", "9" * 30])})
        return path.read_bytes()


def _other_pickled_tensors(rng: Random, raw: bytes) -> bytes:
    with _scratch() as path:
        path.write_bytes(raw)
        with torch.serialization.safe_globals([argparse.Namespace]):
            value = torch.load(path, weights_only=True)
        states = [each for each in (value, *value.values()) if isinstance(each, dict) and each]
        _changed(rng, rng.choice(states))
        if rng.random() < 0.2:
            value = rng.choice([list(value.values()), {"x": value}, {1: value}, next(iter(value.values())), 7, {}])
        torch.save(value, path, _use_new_zipfile_serialization=raw[:2] == b"PK")
        return path.read_bytes()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A file for what libraries write to paths alone."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "scratch"


def _any(folder: Path, rng: Random) -> Path:
    return rng.choice(sorted(folder.rglob("*")) or [folder / "x"])


def _removed(folder: Path, rng: Random) -> str:
    return _removed_path(folder, rng).name


def _replaced(folder: Path, rng: Random) -> str:
    """By a folder, a pipe, a link that leads nowhere, to itself or to a folder, or another file's head."""
    name = _removed_path(folder, rng)
    match rng.randrange(7):
        case 0:
            name.mkdir()
        case 1:
            os.mkfifo(name)
        case 2:
            name.symlink_to(name.name)
        case 3:
            name.symlink_to("nowhere")
        case 4:
            name.symlink_to(".")
        case 5:
            name.symlink_to(rng.choice(["/dev/null", "/dev/zero", "/proc/self/mem", "/etc/passwd"]))
        case _:
            name.write_bytes(rng.choice(STAND_INS))
    return name.name


def _removed_path(folder: Path, rng: Random) -> Path:
    path = _any(folder, rng)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def _stood_in_for(folder: Path, rng: Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) or [folder / "x"]
    path = rng.choice(files)
    path.write_bytes(rng.choice(STAND_INS))
    return path.name


def _swapped(folder: Path, rng: Random) -> str:
    one, other = _any(folder, rng), _any(folder, rng)
    if one.is_file() and other.is_file() and not one.is_symlink() and not other.is_symlink():
        raw = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(raw)
    return f"{one.name} and {other.name}"


def _added(folder: Path, rng: Random) -> str:
    place = _any(folder, rng)
    place = place if place.is_dir() else place.parent
    path = place / rng.choice(NEWCOMERS)
    if not path.exists() and not path.is_symlink():
        path.write_bytes(rng.choice(STAND_INS))
    return path.name


NEWCOMERS = (
    "model.py", "config.json", "diffusion_pytorch_model.bin", "x.json", "vae", "model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors.index.json",
)
FILES: tuple[Callable[[Path, Random], str], ...] = (_removed, _replaced, _replaced, _stood_in_for, _swapped, _added)
