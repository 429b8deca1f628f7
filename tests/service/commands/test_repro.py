"""dit repro: which model it finds, and what it makes of receipts that somebody else wrote."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from dit_serve.models.checkpoints import hub
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.options import DEFAULT_VAE
from dit_serve.models.registry import demo_path
from dit_serve.service.cli import main
from dit_serve.service.image.png import encode_png
from tests.service.commands.test_generate import generate, with_receipt

RECEIPT = {
    "class_id": "7", "class_name": "seven", "cfg": "4.0", "steps": "2", "sampler": "ddim", "seed": "0",
    "resolution": "64", "guidance_channels": "4", "dtype": "float32", "model": "digits-64", "weights_sha256": "0" * 64,
    "vae": "", "version": "1",
}  # fmt: skip


def forged(folder: Path, side: int = 64, **changes: str) -> Path:
    """A black image with a receipt that anybody could write."""
    chunks = {f"dit:{name}": value for name, value in (RECEIPT | changes).items()}
    file = folder / "forged.png"
    file.write_bytes(encode_png(np.zeros((side, side, 3), np.uint8), chunks))
    return file


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))


def test_the_model_is_found_by_its_sum_whatever_it_was_called(
    random_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(random_folder, tmp_path / "copy"))
    (file,) = generate(f"other={copy}", tmp_path / "out", "--class-id", "7")
    assert main(["repro", str(file)]) == 0
    assert "equal: all 4096 pixels" in capsys.readouterr().out
    shutil.rmtree(copy)
    assert main(["repro", str(file)]) == 2
    assert "the image was made by 'other' with weights" in capsys.readouterr().err


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "attacker/evil"},
        {"model": "/dev/zero"},
        {"model": "../../etc/passwd"},
        {"weights_sha256": "../../etc/passwd"},
        {"vae": "attacker/evil"},
        {"vae": "/dev/zero"},
        {"weights": "ema", "model": "file:///etc/passwd"},
    ],
)
def test_nothing_is_opened_because_a_receipt_names_it(
    tmp_path: Path, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repro", str(forged(tmp_path, **changes))]) == 2
    error = capsys.readouterr().err
    assert "--model" in error
    assert len(error) < 300 + len(str(tmp_path))


def test_an_autoencoder_that_a_receipt_names_is_to_be_given(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--model", str(random_folder), "--vae", str(random_folder / "vae")]
    (file,) = generate(own[1], tmp_path, "--class-id", "7", *own[2:])
    assert main(["repro", str(file), *own[:2]]) == 2
    assert "was made with the autoencoder 'vae'" in capsys.readouterr().err
    assert main(["repro", str(file), *own]) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cfg": "nan"}, "the receipt's cfg is not a number; must be a finite number"),
        ({"cfg": "inf"}, "the receipt's cfg is beyond 1.8e308; must be a finite number"),
        ({"cfg": "1e308"}, "the receipt's cfg is 1e+308; must be less than or equal to 20"),
        ({"seed": "-5"}, "the receipt's seed is -5; must be greater than or equal to 0"),
        ({"seed": str(2**70)}, "the receipt's seed is 1180591620717411303424; must be"),
        ({"steps": "0"}, "the receipt's steps is 0; must be greater than or equal to 1"),
        ({"class_id": "-1"}, "the receipt's class_id is -1; must be greater than or equal to 0"),
        ({"class_id": "seven\x1b[2J"}, "the receipt's dit:class_id is no int: 'seven\\x1b[2J'"),
        ({"resolution": "9" * 4000}, "has 64 x 64 pixels, and its receipt says '999"),
        ({"precision": "\x1b[2J"}, "the receipt cannot be followed: precision must be fp8"),
        ({"precision": "x" * 4000}, "the receipt cannot be followed: precision must be fp8"),
        ({"dtype": "x" * 4000}, "the receipt's dtype 'xxx"),
        ({"model": "x" * 5000}, "the receipt's dit:model has 5000 characters, and none of ours has as many"),
        ({"steps": "1_0"}, "the receipt's dit:steps is no int: '1_0'"),
        ({"class_id": "\u0667"}, "the receipt's dit:class_id is no int"),
    ],
)
def test_a_wrong_value_in_a_receipt_is_one_sentence(
    tmp_path: Path, changes: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repro", str(forged(tmp_path, **changes))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert len(line) < 300 + len(str(tmp_path))


def test_what_the_model_cannot_do_is_told_as_the_receipts(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7")
    for changes, sentence in (
        ({"class_id": 10}, "the receipt's class_id is 10; random-64 has classes 0 to 9"),
        ({"steps": 1001}, "the receipt's steps is 1001; random-64 takes 1 to 1000"),
        ({"steps": "9" * 4000}, "the receipt's steps is 99999999999999999999… (4000 digits)"),
        ({"dtype": "\x1b[2J"}, "dtype '\\x1b[2J' is none of"),
    ):
        assert main(["repro", str(with_receipt(file, **changes)), "--model", str(random_folder)]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model", "weights_sha256"])
def test_no_text_of_a_receipt_moves_a_terminal(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = forged(tmp_path, **{name: "\x1b]52;c;ZXZpbA==\x07\x9b2J\nequal: all 4096 pixels\u202e"})
    assert main(["repro", str(file)]) == 2
    told = "".join(capsys.readouterr())
    assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202e]*\n", told)
    assert "\\x1b]52;c;" in told


def test_the_version_that_made_another_image_is_escaped(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7")
    other = with_receipt(file, seed=12345, version="\x1b[2J1")
    assert main(["repro", str(other), "--model", str(random_folder)]) == 1
    assert "the image was made by version '\\x1b[2J1'" in capsys.readouterr().out


def test_only_a_regular_file_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero")):
        assert main(["repro", str(path)]) == 2
        assert f"{path}: is no regular file" in capsys.readouterr().err


def test_an_image_that_is_missing_has_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = forged(tmp_path)
    assert main(["repro", str(tmp_path / "forge.png")]) == 2
    assert f"forge.png: No such file or directory; did you mean {file}?" in capsys.readouterr().err


@pytest.mark.parametrize("sides", [(30_000, 30_000), (5_000, 1), (0, 0)])
def test_a_png_of_any_size_is_one_sentence(
    tmp_path: Path, sides: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    file = forged(tmp_path)
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", *sides)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    file.write_bytes(data)
    assert main(["repro", str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_image_of_another_size_than_its_receipt_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repro", str(forged(tmp_path, side=32))]) == 2
    assert "has 32 x 32 pixels, and its receipt says '64' a side" in capsys.readouterr().err


def test_any_damage_to_a_png_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = forged(tmp_path)
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        file.write_bytes(data)
        assert main(["repro", str(file)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("given", [[], ["--model", "digits-64"]])
def test_no_hub_is_asked_for_the_default_autoencoder_because_of_a_receipt(
    tmp_path: Path, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetched(*_: object, local_files_only: bool = False, **__: object) -> str:
        assert local_files_only, "the hub was asked"
        raise FileNotFoundError("not here")

    monkeypatch.setattr(hub, "snapshot_download", fetched)
    demo = open_checkpoint(cast("Path", demo_path("digits-64"))).sha256
    file = forged(tmp_path, vae=DEFAULT_VAE, weights_sha256=demo)
    assert main(["repro", str(file), *given]) == 2
    assert f"is not on this machine, and no hub is asked because of a receipt: give it with --vae {DEFAULT_VAE}" in (
        capsys.readouterr().err
    )


def test_parts_of_two_receipts_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = forged(tmp_path)
    whole, text = file.read_bytes(), b"tEXtdit:seed\x001"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    file.write_bytes(whole[:33] + chunk + whole[33:])
    assert main(["repro", str(file)]) == 2
    assert "the PNG has several receipts: dit:seed is there twice" in capsys.readouterr().err


def test_a_receipt_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    program = "import sys; from dit_serve.service.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, "repro", str(forged(tmp_path, seed="-5"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2 False\n"
