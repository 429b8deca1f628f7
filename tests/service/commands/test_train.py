"""dit train-autoencoder, dit train, dit generate: from nothing to a picture, in a few steps of tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_serve.service.cli import main
from dit_serve.service.image.png import read_receipt


def test_what_the_commands_train_can_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vae, dit = tmp_path / "vae", tmp_path / "my-dit"
    tiny_vae = ["--channels", "4,4,8,8", "--steps", "1", "--batch-size", "2"]
    assert main(["train-autoencoder", "--out", str(vae), *tiny_vae]) == 0
    tiny_dit = ["--hidden-size", "32", "--depth", "1", "--num-heads", "2", "--steps", "1", "--batch-size", "2"]
    assert main(["train", "--out", str(dit), "--vae", str(vae), *tiny_dit]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(dit)
    assert main(["generate", "--model", str(dit), "--class", "seven", "--steps", "2", "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("class-7-seven-seed-*.png")
    assert read_receipt(file.read_bytes()).model == "my-dit"


def test_a_wrong_configuration_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--out", str(tmp_path), "--vae", str(tmp_path), "--steps", "0"]) == 2
    assert "dit train: steps must be at least 1, got 0" in capsys.readouterr().err
