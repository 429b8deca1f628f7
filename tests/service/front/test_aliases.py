"""Other names of models: who may be called by them, and what is told of a wrong one."""

from __future__ import annotations

from dit_serve.service.front.aliases import with_aliases, wrong_alias
from tests.service.fake import FakeDoor

MODELS = {name: FakeDoor(name).info for name in ("fake-64", "fake-128")}


def test_an_alias_is_its_model_and_comes_after_the_models_own_names() -> None:
    named = with_aliases(MODELS, {"gpt-image-1": "fake-128", "dall-e-3": "fake-64"})
    assert list(named) == ["fake-64", "fake-128", "gpt-image-1", "dall-e-3"]
    assert named["gpt-image-1"] is MODELS["fake-128"]
    assert wrong_alias(MODELS, {"gpt-image-1": "fake-128"}) == ""


def test_an_alias_of_what_is_not_loaded_is_told_with_what_is() -> None:
    assert wrong_alias(MODELS, {"a": "other"}) == "DIT_MODEL_ALIASES has a=other, and loaded are fake-64, fake-128"
    assert list(with_aliases(MODELS, {"a": "other"})) == ["fake-64", "fake-128"]


def test_a_models_own_name_stays_its_own() -> None:
    assert "a model of its own is called fake-64" in wrong_alias(MODELS, {"fake-64": "fake-128"})
    assert with_aliases(MODELS, {"fake-64": "fake-128"})["fake-64"] is MODELS["fake-64"]
