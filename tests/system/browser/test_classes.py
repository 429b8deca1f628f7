"""A class is found by its number, its names and their parts, in the order in which the service finds it."""

from __future__ import annotations

import re

import pytest

from dit_serve.models.labels import Labels, imagenet_names
from tests.service.running import Running
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.viewer import DRAWN

pytestmark = pytest.mark.system

SEARCH = """async ([url, names, queries]) => {
  const { search } = await import(url);
  const classes = names.map((each, class_id) => ({ class_id, names: each }));
  return queries.map((query) => search(classes, query).map(({ class_id, name }) => [class_id, name]));
}"""
NAMES = imagenet_names()
ALL_NAMES = [name for names in NAMES for name in names]
QUERIES = [
    "", " ", "retriever", "Retriever GOLDEN", "dog", "a", "tench", "Tinca  tinca", "crane", "maillot", "cat",
    "sunglasses", "ox", "é", "'s", "-", "great white shark", "shark white", "no such thing",
    *ALL_NAMES[::5], *(name[:4] for name in ALL_NAMES[1::9]), *(name.upper() for name in ALL_NAMES[2::31]),
    *(" ".join(reversed(name.split())) for name in ALL_NAMES[3::17] if " " in name),
]


def test_the_page_finds_imagenets_classes_as_the_service_does_in_the_same_order(visit: Visit, fakes: Running) -> None:
    page = visit(fakes).page
    found = page.evaluate(SEARCH, [f"{fakes.url}/web/classes.js", NAMES, QUERIES])
    for query, answer in zip(QUERIES, found, strict=True):
        assert answer == [list(pair) for pair in Labels(NAMES).search(query)], query


def test_a_number_finds_the_class_with_that_id_first(visit: Visit, fakes: Running) -> None:
    page = visit(fakes).page
    [found] = page.evaluate(SEARCH, [f"{fakes.url}/web/classes.js", NAMES, ["20"]])
    assert [class_id for class_id, _ in found] == [20, *range(200, 210)]
    assert found[0] == [20, "water ouzel"]


def test_a_class_is_chosen_by_id_name_and_synonym(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    for text, wanted in (("17", 17), ("class 42", 42), ("KIND  55", 55)):
        viewer.choose_class(text)
        expect(viewer.classes).to_have_value(re.compile(rf"\b{wanted}$"))


def test_arrows_move_in_the_list_and_escape_leaves_the_class_as_it_was(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.choose_class("17")
    viewer.classes.press("Control+a")
    viewer.classes.press_sequentially("kind 3")
    options = viewer.found
    expect(options).to_have_count(19)  # all with a 3
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1)):
        viewer.classes.press(key)
        expect(options.nth(at)).to_have_attribute("aria-selected", "true")
        pointed = viewer.classes.get_attribute("aria-activedescendant")
        assert options.nth(at).get_attribute("id") == pointed
    viewer.classes.press("Escape")
    expect(options).to_have_count(0)
    expect(viewer.classes).to_have_value(re.compile(r"\b17$"))


def test_words_that_no_class_has_are_told_and_make_nothing(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.classes.click()
    viewer.classes.press_sequentially("unicorn")
    expect(viewer.classes).to_have_attribute("aria-invalid", "true")
    viewer.classes.press("Enter")
    expect(viewer.live_region).to_have_text("No class has these words.")
    assert viewer.watch.posts("/v1/batch") == []


def test_classes_used_last_come_first_and_are_still_known_after_a_reload(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    for text in ("61", "12", "88", "12"):
        viewer.choose_class(text)
    viewer.page.reload()
    viewer.classes.click()
    options = viewer.found
    for at, class_id in enumerate((12, 88, 61)):
        expect(options.nth(at)).to_contain_text(re.compile(rf"\b{class_id}\b.*recent", re.DOTALL))
    expect(options.nth(3)).not_to_contain_text("recent")


def test_surprise_me_takes_other_classes_and_says_which(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    expect(viewer.classes).to_have_value(re.compile("class"))
    seen = set()
    for _ in range(12):
        viewer.button("Surprise me").click()
        viewer.page.evaluate(DRAWN)
        seen.add(viewer.classes.input_value())
    assert len(seen) >= 4  # of a hundred classes; fewer come once in 10^15 times
    expect(viewer.live_region).to_have_text(viewer.classes.input_value())
