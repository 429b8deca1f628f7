"""models/labels.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.labels import Labels, imagenet_names, names_of, split_names

NAMES = (("great white shark", "white shark"), ("crane", "crane bird"), (), ("crane",), ("shark",), ("basking shark",))


def test_search_ranks_the_same_name_before_a_prefix_before_a_part() -> None:
    assert Labels((("big cat",), ("catamaran",), ("cat",))).search("CAT") == [
        (2, "cat"),
        (1, "catamaran"),
        (0, "big cat"),
    ]


def test_search_wants_all_words_in_any_order() -> None:
    assert Labels(NAMES).search("shark white") == [(0, "great white shark")]


def test_search_lists_a_class_once_under_its_best_name() -> None:
    assert Labels(NAMES).search("white shark") == [(0, "white shark")]


def test_search_for_nothing_finds_every_class_with_a_name() -> None:
    assert [class_id for class_id, _ in Labels(NAMES).search("")] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(("name", "class_id"), [("Shark", 4), (" white  SHARK ", 0), ("2", 2), ("005", 5)])
def test_lookup_takes_a_name_or_a_number(name: str, class_id: int) -> None:
    assert Labels(NAMES).lookup(name) == class_id


def test_lookup_of_an_ambiguous_name_lists_the_classes() -> None:
    with pytest.raises(
        ValueError, match=r"'crane' names several classes: 1 \(crane\), 3 \(crane\); give one by its id"
    ):
        Labels(NAMES).lookup("crane")


@pytest.mark.parametrize("name", ["whit", "basking sharc"])
def test_lookup_of_an_unknown_name_lists_near_misses(name: str) -> None:
    with pytest.raises(ValueError, match=r"no class is called .*; near: .*shark"):
        Labels(NAMES).lookup(name)


@pytest.mark.parametrize("name", ["6", "9" * 5000])
def test_lookup_of_a_number_beyond_the_classes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="class ids go from 0 to 5"):
        Labels(NAMES).lookup(name)


@given(st.text(max_size=40))
def test_lookup_answers_or_raises_value_error_for_any_text(name: str) -> None:
    labels = Labels(NAMES)
    try:
        assert 0 <= labels.lookup(name) < len(NAMES)
    except ValueError:
        assert all(0 <= class_id < len(NAMES) for class_id, _ in labels.search(name))


def test_imagenet_has_its_thousand_classes_in_the_usual_order() -> None:
    names = imagenet_names()
    assert len(names) == 1000
    assert all(names)
    assert len({row[0] for row in names}) == 1000
    assert (names[0][0], names[88][0], names[207][0], names[360][0]) == ("tench", "macaw", "golden retriever", "otter")


def test_crane_is_ambiguous_among_imagenets_names() -> None:
    with pytest.raises(ValueError, match=r"134 \(crane bird\), 517 \(crane\)"):
        Labels(imagenet_names()).lookup("crane")


def test_names_are_split_at_commas() -> None:
    assert split_names(" tench, Tinca tinca,, ") == ("tench", "Tinca tinca")


def test_labels_need_no_torch() -> None:
    code = (
        "import sys; from dit_serve.models import errors, labels; labels.imagenet_names()\n"
        "print('torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "False\n"


@pytest.mark.parametrize(
    "id2label",
    [
        {"0": "tench, Tinca tinca", "2": "shark"},
        {0: "tench,Tinca tinca", 2: "shark"},
        {"0": ["tench", "Tinca tinca"], "2": ["shark"]},
        {"0": ["n01440764", "tench", "Tinca tinca"], "2": ["n01484850", "shark"]},
        {"0": "n01440764 tench, Tinca tinca", "2": "n01484850 shark"},
        {"tench": 0, "Tinca tinca": 0, "shark": 2},
        ["tench, Tinca tinca", "", "shark"],
        [["tench", "Tinca tinca", "tench"], [], ["shark"]],
    ],
)
def test_names_are_taken_in_every_usual_form(id2label: object) -> None:
    assert names_of(id2label, 3) == (("tench", "Tinca tinca"), (), ("shark",))


def test_a_wordnet_id_is_a_name_where_there_is_no_other() -> None:
    assert names_of({"n01440764": 0, "n01443537": 1}, 2) == (("n01440764",), ("n01443537",))


@pytest.mark.parametrize(
    ("id2label", "words"),
    [
        ({"3": "x"}, "has '3': 'x', and needs class ids from 0 to 2 with text"),
        ({"-1": "x"}, "has '-1'"),
        ({"x": 3}, "has 3: 'x'"),
        ({"0": 1}, "has '0': 1"),
        ({"0": None}, "has '0': None"),
        ({"0": [1]}, r"has '0': \[1\]"),
        ({True: "x"}, "has True"),
        ({"0": "x", 0: "y"}, "has a class twice"),
        (["x"] * 4, "has 3: 'x'"),
        ([[0, "x"]], "has 0"),
        ("x", "must be an object of class ids and names, or a list, got 'x'"),
        ({"9" * 5000: "x"}, "has '9999"),
    ],
)
def test_names_in_another_form_are_refused_with_the_entry(id2label: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^id2label {words}") as caught:
        names_of(id2label, 3)
    assert len(str(caught.value)) < 200


def test_spaces_and_line_ends_within_a_name_are_one_space() -> None:
    assert names_of(["great\n\twhite\xa0shark , x"], 1) == (("great white shark", "x"),)


@pytest.mark.parametrize(
    ("id2label", "words"),
    [
        ({"0": "a\x1b[2Jb"}, r"control characters are no part of a name"),
        ({"0": "\ud800"}, r"'\\ud800', and control characters"),
        ({"0": "a" * 257}, "more text for '0' than 64 names of up to 256 characters"),
        ({"0": "a," * 100_000}, "more text for '0'"),
        ({"0": ["a"] * 100_000}, "more text for '0'"),
        ({f"n{i}": 0 for i in range(100_000)}, "more text for 0"),
    ],
)
def test_what_is_no_name_or_too_much_of_it_is_refused(id2label: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        names_of(id2label, 2)
    assert len(str(caught.value)) < 200
