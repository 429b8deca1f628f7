"""What a loaded model says of itself tells one from another that makes other images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dit_serve import load_pipeline
from dit_serve.models import pipeline as pipelines
from dit_serve.models.errors import ChangedMeanwhile


def write_anew(path: Path, change: Callable[[bytearray], None]) -> None:
    """Replaces a file at once, as a careful copy does."""
    content = bytearray(path.read_bytes())
    change(content)
    path.with_suffix(".new").write_bytes(content)
    os.replace(path.with_suffix(".new"), path)


def flip_the_last_bit(content: bytearray) -> None:
    content[-1] ^= 1


def other_betas(content: bytearray) -> None:
    content[:] = json.dumps({**json.loads(content), "beta_end": 0.03}).encode()


@pytest.mark.parametrize(
    ("file", "change", "field"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", flip_the_last_bit, "sha256"),
        ("vae/diffusion_pytorch_model.safetensors", flip_the_last_bit, "rest_sha256"),
        ("scheduler/scheduler_config.json", other_betas, "rest_sha256"),
    ],
)
def test_weights_autoencoder_and_schedule_are_told_by_their_sums(
    file: str, change: Callable[[bytearray], None], field: str, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    before = load_pipeline(copy, device="cpu").info
    assert load_pipeline(folder, device="cpu").info.rest_sha256 == before.rest_sha256
    write_anew(copy / file, change)
    after = load_pipeline(copy, device="cpu").info
    fields = ("sha256", "rest_sha256")
    assert [name for name in fields if getattr(after, name) != getattr(before, name)] == [field]


def test_weights_that_are_replaced_while_they_are_loaded_are_not_taken_for_those_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    load_dit = pipelines.load_dit

    def slow(*given: Any, **options: Any) -> Any:
        write_anew(copy / "transformer" / "diffusion_pytorch_model.safetensors", flip_the_last_bit)
        return load_dit(*given, **options)

    monkeypatch.setattr(pipelines, "load_dit", slow)
    with pytest.raises(ChangedMeanwhile, match="was changed while it was loaded: wait until it is written"):
        load_pipeline(copy, device="cpu")
