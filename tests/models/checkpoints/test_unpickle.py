"""models/checkpoints/unpickle.py, in this process; test_convert.py has it run in its own."""

from __future__ import annotations

import argparse
import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dit_serve.models.checkpoints.unpickle import PickleRefused, main, unpickle, write_safetensors
from tests.models.checkpoints.written import TINY, original_state, training_checkpoint


class Attack:
    """Pickles as a call of os.system, which leaves a file behind if it is ever made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def converted(tmp_path: Path, value: object, *, is_zip: bool = True) -> Path:
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    unpickle(tmp_path / "x.pt", tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def is_same(path: Path, state: dict[str, torch.Tensor]) -> bool:
    read = load_file(path)
    return read.keys() == state.keys() and all(
        torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in state.items()
    )


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_state_dict_is_converted_whole(tmp_path: Path, is_zip: bool) -> None:
    state = original_state(TINY)
    assert is_same(converted(tmp_path, state, is_zip=is_zip), state)


def test_of_a_training_checkpoint_only_the_ema_is_kept(tmp_path: Path) -> None:
    whole = training_checkpoint(TINY)
    assert isinstance(whole["ema"], dict)
    assert is_same(converted(tmp_path, whole), whole["ema"])


def test_of_a_training_checkpoint_without_ema_the_model_is_kept(tmp_path: Path) -> None:
    state = original_state(TINY)
    assert is_same(converted(tmp_path, {"model": state, "opt": {}, "args": argparse.Namespace()}), state)


@pytest.mark.parametrize(
    ("args", "metadata"), [({"num_heads": 4}, {"num_heads": "4"}), ({}, None), ({"num_heads": "4; x"}, None)]
)
def test_heads_are_kept_where_the_arguments_name_them(
    tmp_path: Path, args: dict[str, object], metadata: dict[str, str] | None
) -> None:
    with safe_open(converted(tmp_path, training_checkpoint(TINY, **args)), framework="pt") as file:
        assert file.metadata() == metadata


def test_views_transposed_and_shared_tensors_are_written_as_they_look(tmp_path: Path) -> None:
    base = torch.randn(6, 4)
    state = {
        "a": base,
        "b": base.T,
        "c": base[1:3],
        "d": torch.tensor(3.0),
        "e": torch.zeros(0, 2),
        "f": base.half()[0],
    }
    state |= {"g": torch.arange(3), "h": torch.randn(3).bfloat16(), "i": torch.tensor([True])}
    assert is_same(converted(tmp_path, state), state)


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    state = original_state(TINY)
    first = converted(tmp_path, state).read_bytes()
    assert converted(tmp_path, dict(reversed(state.items()))).read_bytes() == first


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, is_zip: bool) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(PickleRefused, match=r"the pickle asks for (posix|os)\.system, which is code and not weights"):
        converted(tmp_path, {"x": torch.zeros(1), "y": Attack(mark)}, is_zip=is_zip)
    assert not mark.exists()
    assert not (tmp_path / "x.safetensors").exists()


def test_classes_other_than_the_arguments_are_refused(tmp_path: Path) -> None:
    args = argparse.Namespace(path=Path("results"))
    with pytest.raises(PickleRefused, match=r"asks for pathlib\.\w+, which is code"):
        converted(tmp_path, {"model": original_state(TINY), "args": args})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({}, "neither a state dict nor a training checkpoint; beside tensors it holds nothing"),
        ({"x": torch.zeros(1), "epoch": 3}, "beside tensors it holds epoch"),
        ({"x": torch.zeros(3, 3).to_sparse()}, r"a kind that is not converted: x \(torch.float32, torch.sparse_coo\)"),
        ({"x": torch.zeros(1, dtype=torch.complex64)}, r"a kind that is not converted: x \(torch.complex64"),
        ({"x": torch.zeros(1, device="meta")}, "a kind that is not converted: x"),
    ],
)
def test_what_holds_no_model_is_refused(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(PickleRefused, match=words):
        converted(tmp_path, value)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_pickle_is_refused(tmp_path: Path, is_zip: bool, kept: float) -> None:
    path = tmp_path / "x.pt"
    torch.save(original_state(TINY), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(PickleRefused, match="truncated or damaged torch file"):
        unpickle(path, tmp_path / "x.safetensors")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is full")
def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught, open("/dev/full", "wb") as file:
        write_safetensors(file, {"x": torch.zeros(100_000)}, {})
    assert caught.value.errno == errno.ENOSPC


def test_the_program_prints_one_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pt")
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors")]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "none" / "x")]) == 1
    assert "No such file or directory" in json.loads(capsys.readouterr().out)["error"]
    (tmp_path / "x.pt").write_bytes(b"PK")
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "y")]) == 1
    assert "truncated or damaged" in json.loads(capsys.readouterr().out)["error"]
