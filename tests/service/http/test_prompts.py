"""Which class a prompt means."""

from __future__ import annotations

import pytest

from dit_serve.models.labels import imagenet_names
from dit_serve.models.options import ModelInfo
from dit_serve.service.http.prompts import class_of_prompt, described_class

NUMBERED = (("zero", "0"), ("one",), ("class 7",), ("two words",), ("two",), ("crane",), ("crane",))


def model(labels: tuple[tuple[str, ...], ...], classes: int = 0) -> ModelInfo:
    return ModelInfo("birds", 64, classes or len(labels), labels, 1000, ("ddim",), 4, "float32", "cpu", "")


IMAGENET = model(imagenet_names())


@pytest.mark.parametrize(
    ("prompt", "class_id"),
    [
        ("207", 207), (" 207 ", 207), ("class 207", 207), ("Class #207", 207), ("#7", 7), ("007", 7),
        ("golden retriever", 207), ("GOLDEN  Retriever", 207), ("tench", 0), ("Tinca tinca", 0),
    ],
)  # fmt: skip
def test_a_name_or_a_number_is_a_class(prompt: str, class_id: int) -> None:
    assert class_of_prompt(prompt, IMAGENET, by_phrase=False) == class_id


def test_a_class_that_is_called_by_a_number_goes_before_the_number() -> None:
    numbered = model(NUMBERED)
    assert class_of_prompt("0", numbered, by_phrase=False) == 0
    assert class_of_prompt("class 7", numbered, by_phrase=False) == 2
    assert class_of_prompt("class 3", numbered, by_phrase=False) == 3


@pytest.mark.parametrize("prompt", ["1000", "class 1000", "9" * 300])
def test_a_number_beyond_the_classes_is_refused_with_the_last_one(prompt: str) -> None:
    with pytest.raises(ValueError, match="0 to 999"):
        class_of_prompt(prompt, IMAGENET, by_phrase=True)


@pytest.mark.parametrize("prompt", ["a photo of a golden retriever", "eleven", "", "twelve secret dogs"])
def test_text_that_is_no_name_is_refused_and_not_repeated(prompt: str) -> None:
    with pytest.raises(ValueError, match="no class is called this") as error:
        class_of_prompt(prompt, IMAGENET, by_phrase=False)
    assert not prompt or prompt not in str(error.value)


@pytest.mark.parametrize(
    ("prompt", "class_id"),
    [
        ("a photo of a golden retriever, 4k", 207), ("Golden-Retriever!", 207), ("two words and two", 3),
        ("the number two", 4), ("zero", 0),
    ],
)  # fmt: skip
def test_the_longest_name_in_a_phrase_counts(prompt: str, class_id: int) -> None:
    labels = IMAGENET if class_id == 207 else model(NUMBERED)
    assert class_of_prompt(prompt, labels, by_phrase=True) == class_id


def test_a_name_counts_as_whole_words_alone() -> None:
    with pytest.raises(ValueError, match="no class is called"):
        class_of_prompt("the oneness of twofold things", model(NUMBERED), by_phrase=True)


@pytest.mark.parametrize("prompt", ["a crane", "one or two in a picture"])
def test_a_phrase_that_names_several_is_refused_with_the_candidates(prompt: str) -> None:
    labels = model(NUMBERED) if prompt == "a crane" else model((("one",), ("two",)))
    with pytest.raises(ValueError, match=r"several classes: \d+ \(\w+\), \d+ \(\w+\)"):
        class_of_prompt(prompt, labels, by_phrase=True)


def test_a_model_without_names_takes_numbers() -> None:
    nameless = model((), classes=10)
    assert class_of_prompt("class 7", nameless, by_phrase=False) == 7
    with pytest.raises(ValueError, match="have no names"):
        class_of_prompt("seven", nameless, by_phrase=True)


def test_a_class_is_described_by_number_and_name() -> None:
    assert described_class(IMAGENET, 207) == "class 207: golden retriever"
    assert described_class(model((), classes=10), 7) == "class 7"
