"""models/checkpoints/tensor_files.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dit_serve.models.checkpoints.tensor_files import (
    MOST_HEADER_BYTES,
    StoredTensor,
    read_headers,
    read_metadata,
    read_tensor,
    shard_paths,
)
from dit_serve.models.errors import CheckpointError


def test_headers_tell_shape_and_type_of_every_tensor_in_all_shards(tmp_path: Path) -> None:
    one, two = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_file({"a": torch.zeros(2, 3)}, one)
    save_file({"b": torch.zeros(4, dtype=torch.bfloat16), "c": torch.tensor(1)}, two)
    assert read_headers([one, two]) == {
        "a": StoredTensor(one, "a", (2, 3), "F32"),
        "b": StoredTensor(two, "b", (4,), "BF16"),
        "c": StoredTensor(two, "c", (), "I64"),
    }


def test_a_tensor_reads_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    saved = {"a": torch.randn(5, 7), "b": torch.randn(3).half()}
    save_file(saved, path)
    found = read_headers([path])
    assert all(torch.equal(read_tensor(found[name]), tensor) for name, tensor in saved.items())


def test_metadata_is_read_and_may_be_absent(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "with", metadata={"num_heads": "4"})
    save_file({"a": torch.zeros(1)}, tmp_path / "without")
    assert read_metadata(tmp_path / "with") == {"num_heads": "4"}
    assert read_metadata(tmp_path / "without") == {}


@pytest.mark.parametrize("kept", [9, 40, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        CheckpointError, match=r"x\.safetensors: a truncated or damaged safetensors file .*download it again"
    ):
        read_headers([path])


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    for read in (lambda: read_headers([tmp_path / "x.safetensors"]), lambda: read_metadata(tmp_path / "x.safetensors")):
        with pytest.raises(CheckpointError, match="only safetensors are read"):
            read()


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "1")
    save_file({"a": torch.zeros(1)}, tmp_path / "2")
    with pytest.raises(CheckpointError, match="2: holds 1 tensors that another shard holds too: a"):
        read_headers([tmp_path / "1", tmp_path / "2"])


def test_a_file_that_changes_after_its_header_was_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    stored = read_headers([path])["a"]
    save_file({"a": torch.zeros(4)}, path)
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        read_tensor(stored)
    save_file({"b": torch.zeros(4)}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensor(stored)


def write_index(tmp_path: Path, weight_map: object) -> Path:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def test_shards_are_the_files_beside_the_index_sorted(tmp_path: Path) -> None:
    index = write_index(tmp_path, {"a": "m-00002-of-2.bin", "b": "m-00001-of-2.bin", "c": "m-00002-of-2.bin"})
    assert shard_paths(index) == (tmp_path / "m-00001-of-2.bin", tmp_path / "m-00002-of-2.bin")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "sub/x", "..", ".", "a\\b", "", ".hidden", "x\n", 3, None, ["x"]]
)
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    index = write_index(tmp_path, {"a": "fine.safetensors", "b": name})
    with pytest.raises(CheckpointError, match=r"index\.json: weight_map names .* a shard must be a file beside it"):
        shard_paths(index)


@pytest.mark.parametrize("weight_map", [{}, [], None, "x"])
def test_an_index_without_a_map_is_refused(tmp_path: Path, weight_map: object) -> None:
    with pytest.raises(CheckpointError, match="has no weight_map"):
        shard_paths(write_index(tmp_path, weight_map))


def with_header(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def test_a_header_larger_than_any_models_is_not_read(tmp_path: Path) -> None:
    path = with_header(tmp_path / "x", b"{" + b" " * MOST_HEADER_BYTES + b"}")
    with pytest.raises(CheckpointError, match=rf"its header would have {MOST_HEADER_BYTES + 2} bytes and no model's"):
        read_headers([path])


def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    entry = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    with pytest.raises(CheckpointError, match="x: holds a tensor twice, a: do not use this file"):
        read_headers([with_header(tmp_path / "x", b"{" + entry + b"," + entry + b"}", b"1")])


def test_names_that_would_move_a_terminal_are_refused(tmp_path: Path) -> None:
    save_file({"a\x1b[2J\n": torch.zeros(1)}, tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"whose name is of what is not printed, a\\x1b\[2J\\n: do not use"):
        read_headers([tmp_path / "x"])


def test_an_index_names_no_more_files_than_a_model_has(tmp_path: Path) -> None:
    index = write_index(tmp_path, {f"a{i}": f"{i}.bin" for i in range(10_001)})
    with pytest.raises(CheckpointError, match="weight_map names 10001 files, more than a model has"):
        shard_paths(index)
