"""models/checkpoints/convert.py: the child process, the cache, and what happens when things go wrong between them."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.convert import convert, ensure_safetensors
from dit_serve.models.checkpoints.manifest import manifest_path
from dit_serve.models.checkpoints.wrappers import read_facts
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.pickles.hostile_pickles import P, named, text, write_hostile
from tests.models.checkpoints.pickles.test_unpickle import Attack
from tests.models.checkpoints.written import TINY, original_state, training_checkpoint

WHOLE = ["dit.safetensors", "dit.safetensors.manifest.json"]
PROGRAM = """import pathlib, sys
from dit_serve.models.checkpoints.convert import ensure_safetensors
print(ensure_safetensors(pathlib.Path(sys.argv[1])))"""


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    torch.save(original_state(TINY), tmp_path / "x.pt")
    return tmp_path / "x.pt"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_safetensors_stay_where_they_are(tmp_path: Path, own_cache: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.bin")
    assert ensure_safetensors(tmp_path / "x.bin") == tmp_path / "x.bin"
    assert not own_cache.exists()


def test_a_pickle_is_converted_once_for_its_content(pickled: Path, own_cache: Path) -> None:
    made = ensure_safetensors(pickled)
    assert made.parent == own_cache / "converted" / hashlib.sha256(pickled.read_bytes()).hexdigest()
    written = made.stat().st_mtime_ns
    elsewhere = pickled.rename(pickled.with_name("other.bin"))
    assert ensure_safetensors(elsewhere) == made
    assert made.stat().st_mtime_ns == written
    assert load_file(made).keys() == original_state(TINY).keys()


def test_two_processes_at_once_convert_once(pickled: Path, own_cache: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(pickled)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(printed) == 1
    assert left_in(own_cache / "converted") == WHOLE
    assert load_file(printed.pop()).keys() == original_state(TINY).keys()


def test_the_rest_of_a_killed_conversion_is_cleared_away(pickled: Path, own_cache: Path) -> None:
    folder = own_cache / "converted" / hashlib.sha256(pickled.read_bytes()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "dit.safetensors.1.partial").write_bytes(b"half of it")
    assert ensure_safetensors(pickled).parent == folder
    assert left_in(folder) == WHOLE


def test_a_pickle_with_code_is_refused_without_effect(tmp_path: Path, own_cache: Path) -> None:
    path, mark = tmp_path / "x.pt", tmp_path / "mark"
    torch.save({"x": Attack(mark)}, path)
    with pytest.raises(CheckpointError) as caught:
        ensure_safetensors(path)
    assert str(caught.value).startswith(f"{path}: the pickle asks for posix.system, which is code and not weights")
    assert not mark.exists()
    assert not list((own_cache / "converted").iterdir())


def test_what_is_no_dit_leaves_nothing_in_the_cache(tmp_path: Path, own_cache: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: not a DiT's weights"):
        ensure_safetensors(tmp_path / "x.pt")
    assert not list((own_cache / "converted").iterdir())


def test_a_conversion_of_the_model_is_not_taken_for_one_of_the_ema(tmp_path: Path, own_cache: Path) -> None:
    torch.save(training_checkpoint(TINY), tmp_path / "x.pt")
    model = ensure_safetensors(tmp_path / "x.pt", weights="model")
    ema = ensure_safetensors(tmp_path / "x.pt")
    assert (read_facts(model).which, read_facts(ema).which) == ("model", "ema")
    assert model != ema
    assert ensure_safetensors(tmp_path / "x.pt", weights="ema") == ema
    assert read_facts(ema).source_sha256 == hashlib.sha256((tmp_path / "x.pt").read_bytes()).hexdigest()


def test_a_conversion_of_an_older_version_is_not_believed(pickled: Path, own_cache: Path) -> None:
    folder = own_cache / "converted" / hashlib.sha256(pickled.read_bytes()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"of before")
    (folder / "model.safetensors.manifest.json").write_text("{}")
    assert load_file(ensure_safetensors(pickled)).keys() == original_state(TINY).keys()


def test_the_child_is_told_no_secret(
    pickled: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = pickled.with_name("python")
    program.write_text(f'#!/bin/sh\nenv > {pickled}.env\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("DIT_API_KEYS", "a-secret")
    monkeypatch.setenv("HF_TOKEN", "another-secret")
    ensure_safetensors(pickled)
    assert "secret" not in Path(f"{pickled}.env").read_text()


def test_a_pickle_under_the_name_of_safetensors_is_converted(pickled: Path) -> None:
    renamed = pickled.rename(pickled.with_suffix(".safetensors"))
    assert load_file(ensure_safetensors(renamed)).keys() == original_state(TINY).keys()


def test_a_folder_with_a_torch_of_its_own_is_no_place_to_import_it_from(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "torch.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path / "here")
    assert ensure_safetensors(pickled).exists()


def test_a_file_that_asks_for_more_memory_than_it_needs_is_refused(tmp_path: Path, own_cache: Path) -> None:
    """A storage of 64 GiB, of which the file holds nothing."""
    storage = P.MARK + text(b"storage") + named(b"torch", b"FloatStorage") + text(b"0") + text(b"cpu")
    storage += P.LONG1 + b"\x05" + (1 << 34).to_bytes(5, "little") + P.NONE + P.TUPLE + P.BINPERSID
    write_hostile(tmp_path / "x.pt", storage, is_zip=False)
    with pytest.raises(CheckpointError, match=r"x\.pt: asks for more memory than a file of its size may need"):
        ensure_safetensors(tmp_path / "x.pt")


def test_a_truncated_pickle_is_refused(pickled: Path) -> None:
    pickled.write_bytes(pickled.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"x\.pt: a truncated torch file, its end is missing"):
        ensure_safetensors(pickled)


def test_no_space_is_said_and_leaves_nothing_behind(pickled: Path, own_cache: Path) -> None:
    """A limit on file size stands in for a full disk: the same write fails, half way through."""
    code = f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); {PROGRAM}"
    limit = pickled.stat().st_size // 2
    child = subprocess.run(
        [sys.executable, "-c", code, str(pickled)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "CheckpointError" in child.stderr.splitlines()[-1]
    assert "cannot be converted (File too large): make room, or set DIT_CACHE to another disk" in child.stderr
    assert left_in(own_cache / "converted") == []


def test_a_cache_that_cannot_be_written_is_said(pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"the cache cannot be written .* set DIT_CACHE"):
        ensure_safetensors(pickled)


def test_a_conversion_that_was_cut_short_before_its_manifest_is_made_again(pickled: Path, own_cache: Path) -> None:
    made = ensure_safetensors(pickled)
    manifest_path(made).unlink()
    made.write_bytes(b"half of it")
    assert load_file(ensure_safetensors(pickled)).keys() == original_state(TINY).keys()
    assert left_in(own_cache / "converted") == WHOLE


def test_convert_writes_where_it_is_told_and_only_there(pickled: Path, tmp_path: Path, own_cache: Path) -> None:
    convert(pickled, tmp_path / "y.safetensors")
    assert load_file(tmp_path / "y.safetensors").keys() == original_state(TINY).keys()
    assert manifest_path(tmp_path / "y.safetensors").exists()
    assert not (own_cache / "converted").exists()
    with pytest.raises(CheckpointError, match=r"y\.safetensors: exists already"):
        convert(pickled, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match="is safetensors already"):
        convert(tmp_path / "y.safetensors", tmp_path / "z.safetensors")


def test_a_child_that_is_killed_is_said(pickled: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = pickled.with_name("python")
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(
        CheckpointError, match=r"x\.pt: the conversion was ended by SIGKILL, which mostly means too little"
    ):
        ensure_safetensors(pickled)
    assert left_in(own_cache / "converted") == []


def test_a_source_that_changes_meanwhile_is_refused(
    pickled: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = pickled.with_name("python")
    program.write_text(f'#!/bin/sh\ntouch "$5"\necho more >> {pickled}\necho "{{}}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        ensure_safetensors(pickled)
    assert left_in(own_cache / "converted") == []
    assert os.environ["DIT_CACHE"] == str(own_cache)


def test_a_child_that_took_too_long_is_told_as_such(pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = pickled.with_name("python")
    program.write_text("#!/bin/sh\nkill -XCPU $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(CheckpointError, match=r"x\.pt: takes longer to read than a file of its size may: save"):
        ensure_safetensors(pickled)
