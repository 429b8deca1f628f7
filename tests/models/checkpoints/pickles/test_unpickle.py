"""models/checkpoints/pickles/unpickle.py, in this process; test_convert.py has it run in its own."""

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

from dit_serve.models.checkpoints.pickles.gathered import settings
from dit_serve.models.checkpoints.pickles.unpickle import PickleRefused, main, unpickle, write_safetensors
from dit_serve.models.checkpoints.wrappers import read_facts
from tests.models.checkpoints.written import TINY, original_state, training_checkpoint


class Attack:
    """Pickles as a call of os.system, which leaves a file behind if it is ever made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def converted(tmp_path: Path, value: object, *, is_zip: bool = True, part: str = "dit") -> Path:
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    (tmp_path / "x.safetensors").unlink(missing_ok=True)  # only a new file is written
    unpickle(tmp_path / "x.pt", tmp_path / "x.safetensors", part=part)
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


def test_what_the_file_and_its_trainer_say_stands_in_the_header(tmp_path: Path) -> None:
    path = converted(tmp_path, training_checkpoint(TINY, num_heads=4, path_type="Linear", lr=[1e-4]))
    facts = read_facts(path)
    read = {"model": "DiT-XL/2", "image_size": 64, "num_classes": 10, "num_heads": 4, "path_type": "Linear"}
    assert facts.args == read
    assert (facts.which, facts.prefix) == ("ema", "ema.")
    assert facts.taken == (
        "took the ema's 42 tensors, stripped 'ema.' from their names, left out model (42 tensors), opt (6 tensors)"
    )


def test_of_a_plain_state_dict_the_header_says_nothing(tmp_path: Path) -> None:
    with safe_open(converted(tmp_path, original_state(TINY)), framework="pt") as file:
        assert file.metadata() is None


@pytest.mark.parametrize(("weights", "key"), [(None, "ema"), ("ema", "ema"), ("model", "model")])
def test_the_weights_that_are_asked_for_are_taken(tmp_path: Path, weights: str | None, key: str) -> None:
    whole = training_checkpoint(TINY)
    torch.save(whole, tmp_path / "x.pt")
    unpickle(tmp_path / "x.pt", tmp_path / "x.safetensors", weights)
    state = whole[key]
    assert isinstance(state, dict)
    assert is_same(tmp_path / "x.safetensors", state)


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
    assert is_same(converted(tmp_path, state, part="whole"), state)


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


def network() -> object:
    """A whole pickled network, with a parameter."""
    return torch.nn.Sequential(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "holds no tensors"),
        ({}, "holds no tensors"),
        ({"x": torch.zeros(1), "epoch": 3}, "not a DiT's weights"),
        ({"ema": None, "step": 3}, "holds no tensors"),
        (network(), r"holds a whole network \(torch.nn.modules.container.Sequential\), which is code"),
        ({"model": network(), "x": torch.zeros(1)}, "holds a whole network"),
        ([torch.zeros(1)], "its tensors have no names, the file itself is a list or a tensor: save a state dict"),
        ({"shadow_params": [torch.zeros(1)], "decay": 0.5}, "have no names, shadow_params is a list or a tensor"),
    ],
)
def test_what_holds_no_model_is_refused_before_a_file_is_written(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(PickleRefused, match=words) as caught:
        converted(tmp_path, value)
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse(), r"a kind that is not converted: blocks.0.attn.qkv.bias \(sparse\): save plain"),
        (torch.zeros(1, dtype=torch.complex64), r"a kind that is not converted: blocks.0.attn.qkv.bias \(torch.comp"),
        (torch.zeros(1, device="meta"), r"a kind that is not converted: .* \(without numbers, on the meta device\)"),
        (torch.zeros(1).expand(10**9, 10**9), r"larger than their data in the file \(blocks.0.attn.qkv.bias\)"),
    ],
)
def test_tensors_that_are_no_plain_ones_are_named(tmp_path: Path, tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(PickleRefused, match=words):
        converted(tmp_path, original_state(TINY) | {"blocks.0.attn.qkv.bias": tensor})


def test_many_names_of_one_storage_do_not_fill_a_disk(tmp_path: Path) -> None:
    base = torch.zeros(1 << 20)
    with pytest.raises(PickleRefused, match=r"larger than their data in the file \(together\)"):
        converted(tmp_path, {f"x{i}": base for i in range(100)}, part="whole")


def test_the_empty_tensors_of_a_partitioned_model_are_told_as_such(tmp_path: Path) -> None:
    state = {name: torch.zeros(0) for name in original_state(TINY)}
    with pytest.raises(PickleRefused, match="empty, as DeepSpeed ZeRO-3 leaves them: gather them first"):
        converted(tmp_path, {"module": state, "ds_version": "0.9"})


def test_an_ema_without_names_is_not_passed_over(tmp_path: Path) -> None:
    state = original_state(TINY)
    value = {"model": state, "ema": {"decay": 0.5, "shadow_params": list(state.values())}}
    with pytest.raises(PickleRefused, match=r"its EMA is a list without names, ema.shadow_params: .*`--weights model`"):
        converted(tmp_path, value)
    unpickle(tmp_path / "x.pt", tmp_path / "x.safetensors", "model")
    assert is_same(tmp_path / "x.safetensors", state)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_pickle_is_refused(tmp_path: Path, is_zip: bool, kept: float) -> None:
    path = tmp_path / "x.pt"
    torch.save(original_state(TINY), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(PickleRefused, match="a truncated torch file, its end is missing: download it again"):
        unpickle(path, tmp_path / "x.safetensors")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is full")
def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught, open("/dev/full", "wb") as file:
        write_safetensors(file, {"x": torch.zeros(100_000)}, {})
    assert caught.value.errno == errno.ENOSPC


def test_the_program_prints_one_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(original_state(TINY), tmp_path / "x.pt")
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "x.safetensors")]) == 0
    assert json.loads(capsys.readouterr().out) == {"taken": ""}
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "none" / "x")]) == 1
    assert "No such file or directory" in json.loads(capsys.readouterr().out)["error"]
    (tmp_path / "x.pt").write_bytes(b"PK")
    assert main([str(tmp_path / "x.pt"), str(tmp_path / "y")]) == 1
    assert "truncated" in json.loads(capsys.readouterr().out)["error"]


def test_entries_that_are_met_again_and_again_are_counted_each_time(tmp_path: Path) -> None:
    value: dict[str, object] = {}
    for _ in range(7):
        value = {str(i): value for i in range(1000)}
    with pytest.raises(PickleRefused, match="holds more than 300,000 entries, as no checkpoint does"):
        converted(tmp_path, value)


def test_arguments_that_are_met_again_and_again_are_looked_at_so_often_and_no_more() -> None:
    many = {f"x{i}": {} for i in range(50_000)}
    assert settings({"args": {"num_heads": 4, **{str(i): many for i in range(256)}}}) == {"num_heads": 4}
