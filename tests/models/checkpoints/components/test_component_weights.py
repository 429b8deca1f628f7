"""models/checkpoints/components/component_weights.py."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.components.component_weights import find_weights
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.components.configs import write
from tests.models.checkpoints.written import TINY, transformer

MODEL = "diffusion_pytorch_model"
BEST_FIRST = [
    f"{MODEL}.safetensors",
    f"{MODEL}.bin",
    f"{MODEL}.ema.safetensors",
    f"{MODEL}.fp32.safetensors",
    f"{MODEL}.fp32.bin",
    f"{MODEL}.bf16.safetensors",
    f"{MODEL}.fp16.safetensors",
    f"{MODEL}.fp16.bin",
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"x")


def names(found: tuple[Path, ...]) -> list[str]:
    return [path.name for path in found]


@pytest.mark.parametrize(("better", "worse"), list(pairwise(BEST_FIRST)))
def test_of_two_the_better_is_taken_and_one_alone_is_taken(tmp_path: Path, better: str, worse: str) -> None:
    touch(tmp_path, worse)
    assert names(find_weights(tmp_path)) == [worse]
    touch(tmp_path, better)
    assert names(find_weights(tmp_path)) == [better]


def test_a_variant_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, f"{MODEL}.fp16.safetensors", f"{MODEL}.bf16.safetensors")
    with caplog.at_level("INFO", "dit.models"):
        find_weights(tmp_path)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: of variants bf16, fp16 the weights of bf16 are taken"
    ]


def test_a_variant_of_any_name_is_taken_alone_and_two_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, f"{MODEL}.my-run.v2.safetensors")
    assert names(find_weights(tmp_path)) == [f"{MODEL}.my-run.v2.safetensors"]
    touch(tmp_path, f"{MODEL}.other.bin")
    with pytest.raises(CheckpointError, match=r"weights of several variants, my-run\.v2, other, and none without"):
        find_weights(tmp_path)


@pytest.mark.parametrize(
    ("index", "pattern"),
    [
        (f"{MODEL}.safetensors.index.json", f"{MODEL}-{{}}.safetensors"),
        (f"{MODEL}.bin.index.json", f"{MODEL}-{{}}.bin"),
        (f"{MODEL}.safetensors.index.fp16.json", f"{MODEL}.fp16-{{}}.safetensors"),
        (f"{MODEL}.safetensors.fp16.index.json", f"{MODEL}-{{}}.fp16.safetensors"),
        (f"{MODEL}.fp16.safetensors.index.json", f"{MODEL}.fp16-{{}}.safetensors"),
        (f"{MODEL}.safetensors.index.odd.json", f"{MODEL}.odd-{{}}.safetensors"),
    ],
)
def test_shards_are_found_with_an_index_and_without(tmp_path: Path, index: str, pattern: str) -> None:
    shards = [pattern.format(f"0000{i}-of-00003") for i in (1, 2, 3)]
    write(tmp_path / index, {"weight_map": {str(i): shard for i, shard in enumerate(shards)}})
    touch(tmp_path, shards[1])
    with pytest.raises(CheckpointError) as caught:
        find_weights(tmp_path)
    assert f"{tmp_path / index}: names files that are not there: {shards[0]}, {shards[2]}" in str(caught.value)
    touch(tmp_path, shards[0], shards[2])
    assert names(find_weights(tmp_path)) == shards
    (tmp_path / index).unlink()
    assert names(find_weights(tmp_path)) == shards
    (tmp_path / shards[2]).unlink()
    with pytest.raises(CheckpointError) as caught:
        find_weights(tmp_path)
    assert f"shards are missing: {shards[2]}: " in str(caught.value)


def test_an_index_whose_files_are_there_counts_before_a_whole_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard, whole = f"{MODEL}-00001-of-00001.safetensors", f"{MODEL}.safetensors"
    write(tmp_path / f"{whole}.index.json", {"weight_map": {"a": shard}})
    touch(tmp_path, whole, f"{MODEL}-00002-of-00003.safetensors")
    with caplog.at_level("INFO", "dit.models"):
        assert names(find_weights(tmp_path)) == [whole]
        touch(tmp_path, shard)
        assert names(find_weights(tmp_path)) == [shard]
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        f"left out, its files are not there; {whole} is taken",
        f"its shards are taken, and {whole} beside it is left out",
    ]


def test_of_two_sets_of_shards_the_whole_one_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, f"{MODEL}-00001-of-00001.safetensors", f"{MODEL}-00002-of-00003.safetensors")
    assert names(find_weights(tmp_path)) == [f"{MODEL}-00001-of-00001.safetensors"]
    touch(tmp_path, *(f"{MODEL}-0000{i}-of-00003.safetensors" for i in (1, 3)))
    with pytest.raises(CheckpointError, match="several sets of shards"):
        find_weights(tmp_path)


def test_a_file_of_another_name_is_taken_if_it_is_the_only_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        find_weights(tmp_path)
    touch(tmp_path, "optimizer.bin", "scheduler.bin", "pytorch_model.bin")
    assert names(find_weights(tmp_path)) == ["pytorch_model.bin"]
    touch(tmp_path, "model.safetensors")
    assert names(find_weights(tmp_path)) == ["model.safetensors"]
    touch(tmp_path, "other.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no weights.*there are model\.safetensors, other\.safetensors"):
        find_weights(tmp_path)


def test_the_only_index_in_a_folder_is_followed_whatever_its_name(tmp_path: Path) -> None:
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    write(tmp_path / "model.safetensors.index.json", {"weight_map": dict(zip("ab", shards, strict=True))})
    touch(tmp_path, shards[0])
    with pytest.raises(CheckpointError, match=rf"names files that are not there: {shards[1]}"):
        find_weights(tmp_path)
    touch(tmp_path, shards[1])
    assert names(find_weights(tmp_path)) == shards


@pytest.fixture(scope="module")
def model() -> DiTTransformer2DModel:
    return transformer(TINY)


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"variant": "fp16"},
        {"variant": "fp16", "max_shard_size": "40KB"},
        {"max_shard_size": "40KB"},
        {"variant": "bf16"},
        {"variant": "odd", "max_shard_size": "40KB"},
    ],
    ids=str,
)
def test_a_transformer_opens_however_diffusers_saves_it(
    tmp_path: Path, model: DiTTransformer2DModel, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    half = kept.get("variant") == "fp16"
    (model.to(torch.float16) if half else model.float()).save_pretrained(tmp_path / "model", **kept)
    found = open_checkpoint(tmp_path / "model")
    assert found.config.hidden_size == TINY.hidden_size
    assert (len(found.weights) > 1) == ("max_shard_size" in kept)
