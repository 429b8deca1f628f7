"""models/checkpoints/checkpoint.py, weights.py and vae.py on damaged files: each loads as it is or is refused in words.

A run makes 2,000 examples; FUZZ_EXAMPLES=100000 in the environment asks for more.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.tensor_files import read_headers, read_tensor
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.vae import load_vae
from tests.models.checkpoints.written import original_state, save_folder
from tests.models.tiny_vae import save_tiny_vae

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
MOST_GROWTH_BYTES = 1 << 30  # of the process in all examples together; what the headers ask for is beyond 10**18
TINIEST = DiTConfig(input_size=2, hidden_size=4, depth=1, num_heads=1, num_classes=2)
CPU = torch.device("cpu")
MARK = "\N{SNOWMAN}"  # stands in a JSON tree for text that no JSON tree holds
RAW = (
    "NaN", "-Infinity", "1e999", "1e-999", "-0", "01", "9" * 5000, "[" * 100_000, '{"a":' * 50_000,
    "[" * 900 + "]" * 900, '"\\ud800"', '"\\u0000"', '1,"dtype":"F64"', '[],"shape":[1]', '{},"x":{}', "", "/**/0",
)
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 4, 7, 2**31, 2**63, 2**64, 10**30, 0.5, -1.0, 1e308, "", "F16", "F8_E4M3",
    "x" * 9999, "../../../etc/passwd", "auto_map", "os:system", [], [0], [-1], [1] * 5000, [2**62, 2, 2], {}, {"a": []},
    [[]], MARK,
]


def fuzzed(share: float) -> settings:
    """Settings for a test that gets this share of all examples."""
    return settings(
        max_examples=max(1, round(EXAMPLES * share)), deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module", autouse=True)
def memory_stays_bounded() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_GROWTH_BYTES


@pytest.fixture(scope="module")
def original_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tiniest") / "x.safetensors"
    save_file(original_state(TINIEST), path, metadata={"num_heads": "1"})
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder") / "tiniest"
    save_folder(folder, TINIEST)
    shutil.rmtree(folder / "vae")
    save_tiny_vae(folder / "vae")
    return folder


def stored_bytes(path: Path) -> dict[str, bytes]:
    """Each tensor's bytes, read without the library that is under test."""
    raw = path.read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:data])
    header.pop("__metadata__", None)
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: raw[data + begin : data + end] for name, (begin, end) in spans.items()}


def loads_or_refuses(path: Path) -> bool:
    """Whether a checkpoint loads with the tensors that are stored, or the refusal names its file; others raise."""
    try:
        opened = open_checkpoint(path)
        load_dit(opened, device=CPU, dtype=torch.float32)
    except CheckpointError as error:
        return str(path) in str(error)
    for weights in opened.weights:
        read = {name: read_tensor(stored) for name, stored in read_headers([weights]).items()}
        found = {name: tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in read.items()}
        assert found == stored_bytes(weights)
    return True


@fuzzed(0.3)
@given(st.data())
def test_damaged_bytes_load_as_they_are_or_are_refused(
    original_bytes: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    header = 8 + int.from_bytes(original_bytes[:8], "little")
    damaged = bytearray(original_bytes[: data.draw(st.integers(header, len(original_bytes)) | st.integers(0, header))])
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, header - 1), st.integers(0, 255)), max_size=4)):
        if place < len(damaged):
            damaged[place] = byte
    path = tmp_path / "x.safetensors"
    path.write_bytes(damaged)
    assert loads_or_refuses(path)


@fuzzed(0.25)
@given(st.data())
def test_a_changed_header_loads_as_it_is_or_is_refused(
    original_bytes: bytes, tmp_path: Path, data: st.DataObject
) -> None:
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
    write_header(tmp_path / "x.safetensors", json.dumps(header), original_bytes[8 + length :])
    assert loads_or_refuses(tmp_path / "x.safetensors")


@fuzzed(0.15)
@given(st.data())
def test_a_header_of_any_json_loads_as_it_is_or_is_refused(
    original_bytes: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    length = int.from_bytes(original_bytes[:8], "little")
    header = spoilt(data, original_bytes[8 : 8 + length].decode())
    said = data.draw(st.none() | st.sampled_from([0, 1, len(header), 2**31, 2**63, 2**64 - 1]))
    write_header(tmp_path / "x.safetensors", header, original_bytes[8 + length :], said)
    assert loads_or_refuses(tmp_path / "x.safetensors")


@fuzzed(0.1)
@given(st.data())
def test_other_shapes_and_names_load_as_they_are_or_are_refused(
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
    assert loads_or_refuses(path)


@fuzzed(0.15)
@given(st.data())
def test_a_changed_config_loads_or_is_refused(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["model_index", "transformer/config", "scheduler/scheduler_config"]))
    path = folder / f"{name}.json"
    text = path.read_text()
    try:
        path.write_text(spoilt(data, text), encoding="utf-8")
        assert loads_or_refuses(folder)
    finally:
        path.write_text(text)


@fuzzed(0.05)
@given(st.data())
def test_a_changed_autoencoder_config_loads_or_is_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / "vae" / "config.json"
    text = path.read_text()
    try:
        path.write_text(spoilt(data, text), encoding="utf-8")
        load_vae(folder / "vae", device=CPU, dtype=torch.float32)
        is_clean = True
    except CheckpointError as error:
        is_clean = str(folder / "vae") in str(error)
    finally:
        path.write_text(text)
    assert is_clean


def write_header(path: Path, header: str, rest: bytes, said: int | None = None) -> None:
    """Write a file with this header, whose length is told as it is or as `said`."""
    raw = header.encode()
    path.write_bytes((len(raw) if said is None else said).to_bytes(8, "little") + raw + rest)


def spoilt(data: st.DataObject, text: str) -> str:
    """A JSON text with one to three of its values replaced, removed or renamed; it need not be JSON any more."""
    tree = json.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        spot, key = data.draw(st.sampled_from(spots(tree)))
        if key not in (spot if isinstance(spot, dict) else range(len(spot))):
            continue  # it went with an earlier change
        match data.draw(st.sampled_from(["replace", "replace", "remove", "rename"])):
            case "rename" if isinstance(spot, dict):
                name = data.draw(st.sampled_from(["auto_map", "x", "", "__class__"]) | st.text(max_size=8))
                spot[name] = spot.pop(key)
            case "remove":
                del spot[key]
            case _:
                spot[key] = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
    raw = data.draw(st.sampled_from(RAW))
    return json.dumps(tree).replace(json.dumps(MARK), raw).encode("utf-8", "replace").decode()


def spots(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON tree: (container, key)."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    below = [spot for _, value in pairs for spot in spots(value)]
    return [(tree, key) for key, _ in pairs] + below or [({}, "")]
