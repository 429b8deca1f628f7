"""checkpoints/claims.py: what a file says of itself is believed before convention, and contradictions are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dit_serve.models.checkpoints.claims import class_table, latent_size, objective, said
from dit_serve.models.checkpoints.sidecar import Sidecar
from dit_serve.models.errors import CheckpointError

PATH = Path("/models/mine.pt")


@pytest.mark.parametrize(
    ("rows", "args", "sidecar", "expected"),  # classes, a null row, guidance, assumed
    [
        (11, {}, Sidecar(), (10, True, True, True)),
        (11, {"num_classes": 10}, Sidecar(), (10, True, True, False)),
        (11, {"class_dropout_prob": 0.1}, Sidecar(), (10, True, True, False)),
        (11, {"model.params.num_classes": 10}, Sidecar(), (10, True, True, False)),
        (10, {"num_classes": 10}, Sidecar(), (10, False, False, False)),
        (10, {"class_dropout_prob": 0.0}, Sidecar(), (10, False, False, False)),
        (11, {"num_classes": 10, "class_dropout_prob": 0}, Sidecar(), (10, True, False, False)),
        (10, {"num_classes": 7}, Sidecar(num_classes=10), (10, False, False, False)),
        (10, {"num_classes": 10}, Sidecar(num_classes=9), (9, True, True, False)),
        (10, {}, Sidecar(id2label=["a"] * 10), (10, False, False, False)),
        (10, {}, Sidecar(id2label=["a"] * 9), (9, True, True, True)),
        (1000, {}, Sidecar(), (1000, False, False, True)),
        (1001, {}, Sidecar(), (1000, True, True, True)),
        (1000, {}, Sidecar(num_classes=999), (999, True, True, False)),
        (1, {}, Sidecar(), (1, False, False, False)),
    ],
)
def test_the_rows_of_a_label_table_are_what_the_file_says(
    rows: int, args: dict[str, Any], sidecar: Sidecar, expected: tuple[int, bool, bool, bool]
) -> None:
    table = class_table(rows, args, sidecar, PATH)
    assert (table.num_classes, table.has_null_class, table.can_guide, table.is_assumed) == expected
    assert ("cfg is 1" in table.note) == (not table.can_guide)


@pytest.mark.parametrize(("args", "sidecar"), [({"num_classes": 1000}, Sidecar()), ({}, Sidecar(num_classes=12))])
def test_a_number_of_classes_that_the_rows_contradict_is_refused(args: dict[str, Any], sidecar: Sidecar) -> None:
    words = r'its label table has 11 rows: write into mine\.json \{"num_classes": 10\}'
    with pytest.raises(CheckpointError, match=words):
        class_table(11, args, sidecar, PATH)


@pytest.mark.parametrize(
    ("args", "names", "path", "told"),
    [
        ({"path_type": "Linear", "prediction": "velocity"}, [], PATH, "path_type Linear"),
        ({"path_type": "GVP", "prediction": "noise"}, [], PATH, "path_type GVP"),
        ({"prediction": "score"}, [], PATH, "prediction score"),
        ({"config.prediction": "v"}, [], PATH, "prediction v"),
        ({"model": "SiT-XL/2"}, [], PATH, "model SiT-XL/2"),
        ({}, ["projectors.0.0.weight"], PATH, "REPA's projectors"),
        ({}, [], Path("/models/SiT-XL-2-256.pt"), "by the name SiT-XL-2-256.pt"),
        ({}, [], Path("/models/repa/last.pt"), "by the name repa"),
        ({}, [], Path("/000-SiT-B-2-Linear-velocity/checkpoints/0050000.pt"), "by the name 000-SiT-B-2"),
    ],
)
def test_a_model_of_flow_matching_is_refused_and_the_sidecar_may_overrule(
    args: dict[str, Any], names: list[str], path: Path, told: str
) -> None:
    words = rf'flow-matching model .*{told}.* write \{{"objective": "epsilon"\}}'
    with pytest.raises(CheckpointError, match=words) as caught:
        objective(args, Sidecar(), names, path)
    assert len(str(caught.value)) < 300
    assert objective(args, Sidecar(objective="epsilon"), names, path) == ("epsilon", False)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, ("epsilon", True)),
        ({"model": "DiT-XL/2"}, ("epsilon", False)),
        ({"prediction_type": "v_prediction"}, ("v_prediction", False)),
        ({"predict_xstart": True}, ("sample", False)),
        ({"prediction": "noise"}, ("epsilon", False)),
    ],
)
def test_what_a_network_predicts_is_what_the_file_says(args: dict[str, Any], expected: tuple[str, bool]) -> None:
    assert objective(args, Sidecar(), [], Path("/visit/transit.pt")) == expected


def test_a_trainer_that_names_a_dit_is_believed_before_a_files_name() -> None:
    assert objective({"model": "DiT-B/4"}, Sidecar(), [], Path("/SiT/x.pt")) == ("epsilon", False)


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"unknown prediction edm: if it is a plain DiT, write"):
        objective({"prediction_type": "edm"}, Sidecar(), [], PATH)


def test_the_latents_size_is_the_sidecars_or_the_trainers() -> None:
    assert latent_size({"image_size": 256}, Sidecar(input_size=16)) == 16
    assert latent_size({"image_size": 256}, Sidecar()) == 32
    assert latent_size({"input_size": 64, "image_size": 256}, Sidecar()) == 64
    assert latent_size({"image_size": 100}, Sidecar()) is latent_size({}, Sidecar()) is None


def test_groups_of_arguments_that_contradict_say_nothing() -> None:
    assert said({"a.num-heads": 4, "b.num_heads": 4}, "num_heads") == 4
    assert said({"a.num_heads": 4, "b.num_heads": 8}, "num_heads") is None
