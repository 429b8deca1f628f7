"""dit generate, and dit repro on what it made."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import load_pipeline
from dit_serve.models.dit import DiTConfig
from dit_serve.service.cli import main
from dit_serve.service.image.png import encode_png, read_png
from dit_serve.service.image.receipt import Receipt
from tests.models.checkpoints.written import original_state


def generate(model: Path | str, out: Path, *arguments: str) -> list[Path]:
    assert main(["generate", "--model", str(model), "--out", str(out), "--steps", "4", *arguments]) == 0
    return sorted(out.iterdir())


def test_images_are_named_by_class_and_seed(random_folder: Path, tmp_path: Path) -> None:
    files = generate(random_folder, tmp_path / "out", "--class-id", "7", "--seed", "5", "-n", "10")
    assert sorted(file.name for file in files) == sorted(f"class-7-thing-7-seed-{seed}.png" for seed in range(5, 15))


def test_a_model_may_be_given_another_name(random_folder: Path, tmp_path: Path) -> None:
    (file,) = generate(f"mine={random_folder}", tmp_path, "--class-id", "7")
    assert read_png(file.read_bytes())[1].model == "mine"
    assert main(["repro", str(file), "--model", f"other={random_folder}"]) == 0


def test_seeds_follow_each_other_as_they_do_over_http(random_folder: Path, tmp_path: Path) -> None:
    files = generate(random_folder, tmp_path / "given", "--class-id", "7", "--seed", str(2**63 - 1), "-n", "2")
    assert {read_png(file.read_bytes())[1].seed for file in files} == {2**63 - 1, 0}
    files = generate(random_folder, tmp_path / "drawn", "--class-id", "7", "-n", "2")
    first, second = (read_png(file.read_bytes())[1].seed for file in files)
    assert abs(first - second) > 1  # each is drawn: neighbours with a chance of 2^-61


def test_an_image_is_the_pipelines_own(random_folder: Path, tmp_path: Path) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7", "--seed", "5", "--cfg", "2", "--sampler", "dpm++")
    image, receipt = read_png(file.read_bytes())
    (expected,) = load_pipeline(random_folder).generate([7], [5], steps=4, guidance_scale=2.0, sampler="dpm++")
    assert np.array_equal(np.asarray(image), expected)
    assert (receipt.seed, receipt.cfg, receipt.steps, receipt.sampler) == (5, 2.0, 4, "dpm++")


def test_a_class_may_be_given_by_name(random_folder: Path, tmp_path: Path) -> None:
    (file,) = generate(random_folder, tmp_path, "--class", "Object 3")
    assert read_png(file.read_bytes())[1].class_id == 3


def test_the_paths_are_printed(random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = generate(random_folder, tmp_path, "--class-id", "1", "-n", "2", "--seed", "0")
    assert capsys.readouterr().out.split() == list(map(str, files))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--class-id", "10"], "--class-id is 10; random-64 has classes 0 to 9"),
        (["--class", "dragon"], "--class: no class is called this"),
        (["--class-id", "1", "--cfg", "0.5"], "--cfg is 0.5; must be greater than or equal to 1"),
        (["--class-id", "1", "--cfg", "nan"], "--cfg is not a number; must be a finite number"),
        (["--class-id", "1", "--steps", "0"], "--steps is 0; must be greater than or equal to 1"),
        (["--class-id", "1", "--steps", "1001"], "--steps is 1001; random-64 takes 1 to 1000"),
        (["--class-id", "1", "--sampler", "euler"], "--sampler must be one of ddim, "),
        (["--class-id", "1", "--seed", "-1"], "--seed is -1; must be greater"),
        (["--class-id", "-1", "--cfg", "21"], "or equal to 0; --cfg is 21.0; must be less than or equal to 20"),
        (["--class-id", "1", "--modulation-cache-bytes", "-1"], "modulation_cache_bytes must be 0 to 1099511627776"),
        (["--class-id", "1", "-n", "0"], "-n is 0; must be greater"),
        (["--class-id", "1", "--precision", "int4"], "precision must be fp8, got 'int4'"),
        (["--class-id", "1", "--precision", "fp8", "--device", "cpu"], "precision fp8 needs an NVIDIA card"),
    ],
)
def test_what_cannot_be_made_is_told(
    random_folder: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--model", str(random_folder), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_repro_finds_its_own_image_equal(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7")
    assert main(["repro", str(file), "--model", str(random_folder)]) == 0
    assert "equal: all 4096 pixels" in capsys.readouterr().out


def with_receipt(file: Path, **changes: object) -> Path:
    """The same pixels with another receipt."""
    image, receipt = read_png(file.read_bytes())
    chunks = receipt.to_chunks() | {f"dit:{name}": str(value) for name, value in changes.items()}
    assert Receipt.from_chunks(chunks) != receipt
    other = file.with_name("other.png")
    other.write_bytes(encode_png(np.asarray(image), chunks))
    return other


def test_repro_takes_the_weights_that_the_receipt_names(
    random_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    state = original_state(DiTConfig(input_size=8, hidden_size=48, depth=1, num_heads=4, num_classes=10))
    model, ema = ({name: tensor * scale for name, tensor in state.items()} for scale in (1.0, 0.5))
    torch.save({"model": model, "ema": ema, "args": argparse.Namespace(num_heads=4)}, tmp_path / "x.pt")
    arguments = ["--vae", str(random_folder / "vae")]
    (file,) = generate(tmp_path / "x.pt", tmp_path / "out", "--class-id", "1", "--weights", "model", *arguments)
    assert read_png(file.read_bytes())[1].weights == "model"
    again = ["--model", str(tmp_path / "x.pt"), *arguments]
    assert main(["repro", str(file), *again]) == 0
    assert main(["repro", str(file), "--weights", "ema", *again]) == 2
    assert "made with the model weights of 'x', and x was loaded with its ema ones" in capsys.readouterr().err
    assert main(["repro", str(with_receipt(file, weights="best")), *again]) == 2
    assert "weights must be model or ema, got 'best'" in capsys.readouterr().err


def test_repro_counts_the_pixels_that_differ(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7", "--seed", "1")
    assert main(["repro", str(with_receipt(file, seed=2)), "--model", str(random_folder)]) == 1
    assert "of 4096 pixels, by" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights_sha256": "f" * 64}, "name the right one with --model"),
        ({"resolution": 128}, "has 64 x 64 pixels, and its receipt says '128' a side"),
        ({"guidance_channels": 3}, "the image has 64 pixels and '3' guided channels"),
        ({"sampler": "euler"}, "the receipt's sampler must be one of ddim, "),
        ({"precision": "fp8"}, "precision fp8 needs an NVIDIA card"),
    ],
)
def test_repro_refuses_another_model(
    random_folder: Path, tmp_path: Path, changes: dict[str, object], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = generate(random_folder, tmp_path, "--class-id", "7")
    assert main(["repro", str(with_receipt(file, **changes)), "--model", str(random_folder)]) == 2
    assert sentence in capsys.readouterr().err
