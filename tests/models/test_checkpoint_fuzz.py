"""models/checkpoint.py and weights.py on damaged files: each is opened or refused in words, nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.checkpoint import open_checkpoint
from models.dit import DiTConfig
from models.errors import CheckpointError
from models.weights import load_dit
from tests.models.checkpoints import original_state

TINIEST = DiTConfig(input_size=2, hidden_size=4, depth=1, num_heads=1, num_classes=2)


@pytest.fixture(scope="module")
def original_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tiniest") / "x.safetensors"
    save_file(original_state(TINIEST), path, metadata={"num_heads": "1"})
    return path.read_bytes()


def opens_or_refuses(path: Path) -> bool:
    """Whether the file can be opened and loaded, or else the refusal names it; any other error fails the test."""
    try:
        load_dit(open_checkpoint(path), device=torch.device("cpu"), dtype=torch.float32)
    except CheckpointError as error:
        return str(path) in str(error)
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_opened_or_refused(original_bytes: bytes, tmp_path: Path, data: st.DataObject) -> None:
    header = 8 + int.from_bytes(original_bytes[:8], "little")
    damaged = bytearray(original_bytes[: data.draw(st.integers(header, len(original_bytes)) | st.integers(0, header))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), header) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.safetensors"
    path.write_bytes(damaged)
    assert opens_or_refuses(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_header_is_opened_or_refused(original_bytes: bytes, tmp_path: Path, data: st.DataObject) -> None:
    length = int.from_bytes(original_bytes[:8], "little")
    header = json.loads(original_bytes[8 : 8 + length])
    names = sorted(set(header) - {"__metadata__"})
    for _ in range(data.draw(st.integers(1, 3))):
        entry = header[data.draw(st.sampled_from(names))]
        key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        entry[key] = data.draw(
            st.sampled_from(["F64", "F32", "BF16", "I8", "BOOL", "F8_E4M3", "F4", "C64"])
            if key == "dtype"
            else st.lists(st.integers(-1, 2**64) | st.integers(0, 300), max_size=4)
        )
    changed = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + original_bytes[8 + length :])
    assert opens_or_refuses(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_other_shapes_and_names_are_opened_or_refused(
    original_bytes: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(original_bytes)
    state = load_file(path)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(state)))
        tensor = state.pop(name)
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.int8, torch.bool, torch.float8_e4m3fn]))
        shape = data.draw(st.lists(st.integers(0, 5), max_size=4) | st.just(list(tensor.shape)))
        state[data.draw(st.just(name) | st.text(max_size=5))] = torch.zeros(shape).to(dtype)
    save_file(state, path, metadata={"num_heads": data.draw(st.sampled_from(["1", "2", "0", "x", "9" * 30]))})
    assert opens_or_refuses(path)
