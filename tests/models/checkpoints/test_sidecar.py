"""checkpoints/sidecar.py: each entry is checked with a sentence, and an unknown one named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dit_serve.models.checkpoints.sidecar import Sidecar, read_sidecar
from dit_serve.models.errors import CheckpointError


def beside(folder: Path, entries: object) -> Sidecar:
    (folder / "x.json").write_text(json.dumps(entries))
    return read_sidecar(folder / "x.safetensors")


def test_all_entries_are_read(tmp_path: Path) -> None:
    (tmp_path / "my-vae").mkdir()
    given = {"num_heads": 4, "guidance_channels": 16, "num_classes": 10, "objective": "v_prediction", "input_size": 32,
             "id2label": {"0": "zero"}, "name": "mine"}
    assert beside(tmp_path, given | {"vae": "my-vae"}) == Sidecar(**given, vae=tmp_path / "my-vae")
    assert beside(tmp_path, {"vae": "owner/name"}) == Sidecar(vae="owner/name")


def test_no_sidecar_says_nothing_and_so_does_a_config_of_diffusers(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path / "x.pt") == beside(tmp_path, {}) == Sidecar()
    assert beside(tmp_path, {"_class_name": "DiTTransformer2DModel", "num_layers": 2}) == Sidecar()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"heads": 4}, r"has no entry 'heads', only num_heads, .*: did you mean num_heads\?"),
        ({"guidance_chanels": 4}, r"did you mean guidance_channels\?"),
        ({"image_size": 256}, r"did you mean input_size\?"),
        ({"#": 4}, "remove it"),
        ({"num_heads": 0}, "num_heads must be a whole number from 1 to 1024, got 0: correct or remove it"),
        ({"num_heads": "4"}, "num_heads must be .* got '4'"),
        ({"num_classes": True}, "num_classes must be .* got True"),
        ({"num_classes": None}, "num_classes must be .* got None"),
        ({"input_size": 1.5}, "input_size must be"),
        ({"guidance_channels": [3]}, "guidance_channels must be"),
        ({"objective": "velocity"}, "objective velocity is that of flow matching"),
        ({"objective": "noise"}, "objective must be epsilon or sample or v_prediction, got 'noise'"),
        ({"objective": ["epsilon"]}, "objective must be"),
        ({"name": "a b"}, "name must be 1 to 64 letters"),
        ({"name": 3}, "name must be"),
        ({"id2label": "tench"}, "id2label must be an object or a list of names"),
        ({"vae": "nowhere"}, "vae names 'nowhere', which is no file or folder beside it and no hub id"),
        ({"vae": ""}, "vae must be a path relative to this file"),
        ({"vae": "x" * 5000}, "vae must be .* got 'x"),
        ({"vae": 1}, "vae must be"),
        ([], "a JSON object is expected"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(tmp_path: Path, entries: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"x\.json: .*{words}") as caught:
        beside(tmp_path, entries)
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 300
