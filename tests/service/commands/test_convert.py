"""dit convert."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.service.cli import main
from dit_serve.service.commands import convert as command
from tests.models.checkpoints.written import TINY, original_state

STATE = original_state(TINY)


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    torch.save({"module." + name: tensor for name, tensor in STATE.items()}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_the_result_goes_where_it_is_asked_to(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pickled.with_name("new.safetensors")
    assert main(["convert", str(pickled), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found = load_file(out)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_the_result_goes_to_the_cache_by_default(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(pickled)]) == 0
    out = Path(capsys.readouterr().out.strip())
    assert out.is_relative_to(pickled.with_name("cache"))
    assert load_file(out).keys() == STATE.keys()


@pytest.mark.parametrize("folder", ["there", "new[/b] :smile:/", "~"])
def test_the_result_may_go_to_a_folder(
    pickled: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "convert", lambda source, target, weights: save_file(STATE, target))
    monkeypatch.chdir(pickled.parent)
    monkeypatch.setenv("HOME", str(pickled.parent))
    Path("there").mkdir()
    assert main(["convert", "~/model.pt", f"--out={folder}"]) == 0
    expected = Path(folder.replace("~", str(pickled.parent))) / "model.safetensors"
    assert capsys.readouterr().out == f"{expected}\n"
    assert expected.is_file()


def test_the_sum_is_that_of_what_was_converted(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = hashlib.sha256(pickled.read_bytes()).hexdigest()
    out = pickled.with_name("new.safetensors")
    assert main(["convert", str(pickled), "--out", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}\n", f"sha256 {sha256}\n")
    assert main(["convert", str(pickled), "--json"]) == 0
    told, rest = capsys.readouterr()
    assert (json.loads(told)["sha256"], rest) == (sha256, "")
    assert main(["convert", str(out), "--json"]) == 0  # which needs no conversion
    assert json.loads(capsys.readouterr().out) == {"path": str(out), "sha256": sha256}
    out.with_suffix(".json").write_text('{"num_heads": 4}')
    assert open_checkpoint(out).sha256 == sha256


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mode.pt"], "dit convert: mode.pt: no such file: check the path; did you mean model.pt?"),
        (["pipe"], "dit convert: pipe: neither a regular file nor a folder"),
        (["model.pt", "--out", "plain"], "dit convert: plain: --out is a file already"),
        (["model.pt", "--out", "plain/new.safetensors"], "dit convert: plain: cannot be written (File exists)"),
        (["model.pt", "--out", "old.safetensors"], "dit convert: old.safetensors: exists already"),
    ],
)
def test_what_cannot_be_done_is_told(
    pickled: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pickled.parent)
    os.mkfifo("pipe")
    for name in ("plain", "old.safetensors"):
        Path(name).touch()
    assert main(["convert", *arguments]) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_one_of_two_models_may_be_chosen(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    torch.save({"model": other, "ema": STATE}, pickled)
    for flags, expected in ([], STATE), (["--weights", "model"], other), (["--weights", "ema"], STATE):
        assert main(["convert", str(pickled), *flags]) == 0
        found = load_file(Path(capsys.readouterr().out.strip()))
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_of_what_is_refused_no_folder_stays(
    pickled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"x": torch.zeros(1)}, pickled)
    assert main(["convert", str(pickled), "--out", str(pickled.parent / "new" / "a" / "x.safetensors")]) == 2
    assert "not a DiT's weights" in capsys.readouterr().err
    assert not (pickled.parent / "new").exists()
