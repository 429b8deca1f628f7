"""What a loaded model says of itself tells one from another that makes other images."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import PIL
import pytest
import torch

from dit_serve import load_pipeline
from dit_serve.kernels.launch import triton
from dit_serve.models import pipeline as pipelines
from dit_serve.models.build import build_of
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
    assert before.build == build_of(torch.device("cpu"))
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


def test_the_build_names_what_has_a_part_in_the_bytes() -> None:
    build = build_of(torch.device("cpu"))
    assert [part.split()[0] for part in build] == ["torch", "numpy", "diffusers", "pillow", "cpu"]
    for part, module in zip(build, (torch, np, diffusers, PIL), strict=False):
        assert module.__version__ in part
    assert {torch.backends.cpu.get_cpu_capability(), platform.machine()} <= set(build[-1].split())


def test_another_card_or_an_older_vector_level_is_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def card(name: str, major: int) -> tuple[str, ...]:
        properties = SimpleNamespace(name=name, major=major, minor=0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        return build_of(torch.device("cuda:1"))

    here = build_of(torch.device("cpu"))
    kernels = [f"triton {triton.__version__}"] if triton else []
    assert card("NVIDIA H200", 9) == (*here[:-1], *kernels, "NVIDIA H200 9.0")
    assert len({here, card("NVIDIA H200", 9), card("NVIDIA A100", 8)}) == 3
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert build_of(torch.device("cpu"))[:-1] == here[:-1]
    assert build_of(torch.device("cpu"))[-1] != here[-1]
