"""models/checks.py: what Python may ask of a model is what HTTP may, and a refusal tells all that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dit_serve.models.checks import MAX_SEED, check_spec, read_specs
from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.errors import InvalidRequest
from dit_serve.service.http.reading import choose, read_form

BIRDS = (("tench", "Tinca tinca"), ("goldfish",), ("crane", "a bird"), ("crane", "a machine"))
MODEL = ModelInfo("birds", 64, 10, BIRDS, 1000, ("ddim", "ddpm", "dpm++"), 4, "float32", "cpu", "")
WISHES = (20, 4.0, "ddim")
SPEC = SampleSpec(1, 0, *WISHES)

ONE_ASKED_FOR = [
    (1, 5), (np.int64(1), np.uint64(5)), (np.array(1), np.array(5)), (torch.tensor(1), torch.tensor(5)), ([1], [5]),
    (np.array([1]), np.array([5], dtype=np.int8)), (torch.tensor([1]), torch.tensor([5])), ((1,), range(5, 6)),
    (iter([1]), (seed for seed in [5])), ("Goldfish", 5), (["goldfish"], [5]), (np.array(["goldfish"]), [5]),
    (np.str_("goldfish"), 5), ([np.str_("1")], [5]), (np.array([1, None], dtype=object)[:1], [5]),
]


@pytest.mark.parametrize(("class_ids", "seeds"), ONE_ASKED_FOR, ids=lambda value: repr(value).partition(" at 0x")[0])
def test_classes_and_seeds_come_in_whatever_holds_them(class_ids: object, seeds: object) -> None:
    (spec,) = read_specs(MODEL, class_ids, seeds, np.int32(20), np.float32(4), np.str_("ddim"))
    assert spec == SampleSpec(1, 5, *WISHES)
    assert repr(spec) == repr(SampleSpec(1, 5, *WISHES))
    assert hash(spec) == hash(SampleSpec(1, 5, *WISHES))


def test_no_classes_are_no_images() -> None:
    assert read_specs(MODEL, [], [], *WISHES) == []
    assert read_specs(MODEL, np.array([]), torch.tensor([]), *WISHES) == []


@pytest.mark.parametrize(("class_ids", "seeds"), [([1, 2], 0), ([], [0]), (1, []), (np.arange(3), np.arange(2))])
def test_seeds_must_be_one_an_image(class_ids: object, seeds: object) -> None:
    with pytest.raises(ValueError, match=r"seeds must be one an image: \d class ids, \d seeds"):
        read_specs(MODEL, class_ids, seeds, *WISHES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_id": True}, "class_id is True; must be a valid integer"),
        ({"class_id": 7.5, "seed": None}, "class_id is 7.5; must be a valid integer; seed is None; must be a valid"),
        ({"steps": np.float64(20.5)}, r"steps is 20\.5; must be a valid integer"),
        ({"guidance_scale": "4"}, "guidance_scale is '4'; must be a valid number"),
        ({"sampler": 3}, "sampler is 3; must be a valid string"),
    ],
)
def test_a_spec_of_other_types_cannot_be_made(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SPEC, **changes)


BOUNDS = [
    {"class_id": 10}, {"steps": 1001}, {"sampler": "euler"}, {"seed": -5}, {"seed": 2**63}, {"seed": 2**70},
    {"guidance_scale": 0.5}, {"guidance_scale": -3.0}, {"guidance_scale": 20.5}, {"guidance_scale": float("nan")},
    {"guidance_scale": float("inf")}, {"class_id": 10**30, "steps": 5000, "sampler": "x"},
]


@pytest.mark.parametrize("changes", BOUNDS, ids=repr)
def test_python_and_http_refuse_the_same_in_the_same_words(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))) as refused:
        check_spec(MODEL, replace(SPEC, **changes))
    body = {"class_id": 1, **changes}
    body = json.dumps(body).replace("NaN", "1e999").replace("Infinity", "1e999").encode()  # JSON has no other
    with pytest.raises(InvalidRequest) as over_http:
        choose(read_form(body), {"birds": MODEL})
    for fault in over_http.value.errors:
        words = fault.message.removeprefix("is beyond 1.8e308; ")  # as JSON writes what Python calls inf and nan
        assert words in str(refused.value)
        assert fault.field.replace("cfg", "guidance_scale") in str(refused.value)


def test_the_bounds_themselves_are_allowed() -> None:
    for change in ({"class_id": 9}, {"steps": 1000}, {"seed": MAX_SEED}, {"guidance_scale": 1}, {"guidance_scale": 20}):
        check_spec(MODEL, replace(SPEC, **change))


def test_a_refusal_tells_all_that_is_wrong_once_and_stays_short() -> None:
    with pytest.raises(ValueError, match="class_id") as refused:
        read_specs(MODEL, [10, 1, 10], [0, -1, 0], 0, float("nan"), "ddim")
    assert str(refused.value) == (
        "class_id is 10; birds has classes 0 to 9; steps is 0; birds takes 1 to 1000; guidance_scale is nan; "
        "must be a finite number; seed is -1; must be greater than or equal to 0"
    )
    with pytest.raises(ValueError, match=r"…$") as refused:
        read_specs(MODEL, range(100, 1000), range(900), *WISHES)
    assert len(str(refused.value)) == 300


@pytest.mark.parametrize("name", ["nightingale", "crane", "", "tenchh", b"tench"])
def test_text_that_names_no_class_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match=r"no class is called|names several classes|must be a valid integer"):
        read_specs(MODEL, name, 0, *WISHES)
    with pytest.raises(ValueError, match="classes of birds have no names: give class_id"):
        read_specs(replace(MODEL, labels=()), "tench", 0, *WISHES)
