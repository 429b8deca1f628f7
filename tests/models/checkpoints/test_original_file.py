"""checkpoints/checkpoint.py: a file in the original names is opened with what it, its trainer and its sidecar say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state


def saved(folder: Path, config: DiTConfig = TINY, *, sidecar: object = None, args: object = None, **more: Any) -> Path:
    """A file in the original names, with what its trainer's arguments and its sidecar say."""
    path = folder / "mine.safetensors"
    metadata = {} if args is None else {"args": json.dumps(args)}
    save_file(original_state(config) | more, path, metadata)
    path.with_suffix(".json").write_text(json.dumps({"num_heads": 4} if sidecar is None else sidecar))
    return path


def test_a_sidecar_says_what_the_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    sidecar = {"num_heads": 2, "guidance_channels": 2, "num_classes": 11, "objective": "v_prediction",
               "id2label": [f"class {i}" for i in range(11)], "vae": "vae", "name": "digits"}
    found = open_checkpoint(saved(tmp_path, sidecar=sidecar))
    assert found.config == replace(TINY, num_heads=2, num_classes=11, has_null_class=False)
    assert (found.name, found.guidance_channels, found.vae) == ("digits", 2, tmp_path / "vae")
    assert (found.schedule.prediction_type, found.can_guide, found.assumed) == ("v_prediction", False, ())
    assert found.labels[10] == ("class 10",)


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        ({"num_heads": 4, "guidance_channels": 5}, "guidance_channels 5 are more than the latent's 4"),
        ({"num_heads": 4, "input_size": 16}, "input_size 16 contradicts the model, which has 8"),
        ({"num_heads": 4, "id2label": {"10": "x"}}, "id2label has '10': 'x', and needs class ids from 0 to 9"),
        ({"num_heads": 4, "num_classes": 12}, "mine.json tell of 12 classes, and its label table has 11 rows"),
        ({"num_head": 4}, "did you mean num_heads"),
    ],
)
def test_a_sidecar_that_contradicts_the_weights_is_refused(tmp_path: Path, sidecar: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(saved(tmp_path, sidecar=sidecar))


def test_a_file_without_a_null_class_has_all_its_rows_for_classes(tmp_path: Path) -> None:
    found = open_checkpoint(saved(tmp_path, args={"model": "DiT-S/2", "num_classes": 11}))
    assert (found.config.num_classes, found.can_guide, found.assumed) == (11, False, ())
    assert "no null class" in found.notes[0]
    silent = open_checkpoint(saved(tmp_path))
    assert (silent.config.num_classes, silent.can_guide, silent.assumed) == (10, True, ("null class", "objective"))


def test_a_flow_matching_file_is_refused_until_the_sidecar_says_that_it_is_none(tmp_path: Path) -> None:
    projector = {"projectors.0.0.weight": torch.zeros(4, 4)}
    with pytest.raises(CheckpointError, match="flow-matching model such as SiT or REPA"):
        open_checkpoint(saved(tmp_path, **projector))
    found = open_checkpoint(saved(tmp_path, sidecar={"num_heads": 4, "objective": "epsilon"}, **projector))
    assert found.notes == ("left out: projectors (REPA's, for training, 1 tensors)",)
    assert load_dit(found, device=torch.device("cpu"), dtype=torch.float32).config == TINY


def test_positions_that_are_not_stored_are_computed(tmp_path: Path) -> None:
    path = saved(tmp_path, args={"image_size": 64})
    whole = load_dit(open_checkpoint(path), device=torch.device("cpu"), dtype=torch.float32)
    state = load_file(path)
    del state["pos_embed"]
    save_file(state, path, {"args": json.dumps({"image_size": 64})})
    found = open_checkpoint(path)
    assert found.notes == ("positions: computed for 8 x 8 latents, it has no pos_embed",)
    computed = load_dit(found, device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(computed.pos_embed, whole.pos_embed)


@pytest.mark.parametrize(("channels", "guided"), [(4, 3), (16, 16), (3, 3)])
def test_three_of_four_channels_are_guided_and_all_of_another_number(
    tmp_path: Path, channels: int, guided: int
) -> None:
    assert open_checkpoint(saved(tmp_path, replace(TINY, in_channels=channels))).guidance_channels == guided


def test_a_conversion_has_the_sum_of_what_was_converted(tmp_path: Path) -> None:
    config = replace(TINY, hidden_size=384, num_heads=6)
    save_file(original_state(config), tmp_path / "x.safetensors", {"source_sha256": "ab" * 32})
    assert open_checkpoint(tmp_path / "x.safetensors").sha256 == "ab" * 32
