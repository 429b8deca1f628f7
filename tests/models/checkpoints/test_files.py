"""models/checkpoints/files.py."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dit_serve.models.checkpoints.files import MAX_JSON_BYTES, read_json, read_start, weights_kind
from dit_serve.models.errors import CheckpointError, printable

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2700000000\n"


def test_safetensors_are_known_by_content_not_by_name(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.pt")
    assert weights_kind(tmp_path / "weights.pt") == "safetensors"


@pytest.mark.parametrize("first", [b"\x80", b"<", b"P", b"\n", b" "])
def test_a_safetensors_header_of_any_length_is_known(tmp_path: Path, first: bytes) -> None:
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    length = first[0] + 256
    path = tmp_path / "weights"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + b"\0")
    assert weights_kind(path) == "safetensors"


@pytest.mark.parametrize("is_zip", [True, False])
def test_both_formats_of_torch_save_are_known(tmp_path: Path, is_zip: bool) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights", _use_new_zipfile_serialization=is_zip)
    assert weights_kind(tmp_path / "weights") == "pickle"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty: download it again"),
        (POINTER, "a git-lfs pointer, not the file itself: run `git lfs pull`"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"\n <HTML>", "a web page"),
        (b"\x89PNG\r\n\x1a\n", "not a weights file"),
        (b"abc", "not a weights file"),
        (b'{"error": "not found"}', "JSON text, a site's answer or a config, and no weights"),
        (b'{"data":{"error": 1}}', "JSON text, a site's answer or a config, and no weights"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip: unpack it"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"storages".ljust(257, b"\0") + b"ustar", "a tar archive"),
    ],
)
def test_what_stands_in_for_weights_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        weights_kind(path)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none: no such file"):
        weights_kind(tmp_path / "none")
    with pytest.raises(CheckpointError, match="a folder where a weights file is expected: give the file in it"):
        weights_kind(tmp_path)


def test_text_from_a_file_moves_no_cursor() -> None:
    assert printable("a\x1b[2J\nb\u202e é") == r"a\x1b[2J\nb\u202e é"
    assert printable("x" * 100, 10) == "xxxxxxxxx…"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "holds a list where a JSON object is expected"),
        (b"\xff\xfe{", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (POINTER, "a git-lfs pointer"),
        (b"{" + b" " * MAX_JSON_BYTES + b"}", "no config is larger than"),
        (b'{"a": [' + b"[]," * 600_000 + b"[]]}", "no config has more than 1000000 values"),
    ],
)
def test_what_stands_in_for_json_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_numbers_that_python_writes_and_json_has_not_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"x": [math.inf, -math.inf, math.nan]}))
    found = read_json(path)["x"]
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_json(path)


def test_a_name_that_is_no_text_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").rename(path)
    with pytest.raises(CheckpointError, match="the name of the file or of its folder is no text in UTF-8: rename it"):
        weights_kind(path)


def test_a_pipe_that_comes_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_start(tmp_path / "pipe", 1)
