"""PNGs are read in the page: receipts, faults, a filter; made again, they are equal or not; nothing is uploaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.service.running import Running
from tests.system.browser.answers import generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.pngs import chunk_kinds, cut_off, of_class_called, with_one_other_pixel, without_receipt
from tests.system.browser.viewer import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.system

SHIBA = "柴犬 (Шпиц)"


@pytest.fixture(scope="module")
def files(pictures: Running) -> dict[str, bytes]:
    """By name: two of ours, one of them changed, one with a name beyond Latin-1, a foreign one, a damaged one."""
    seven = generated(pictures, {"model": "digits-64", "class_id": 7, "cfg": 2, "steps": 6, "seed": 5})
    bag = generated(pictures, {"model": "fashion-64", "class_id": 8, "cfg": 4, "steps": 4, "seed": 2**60 + 1})
    assert chunk_kinds(of_class_called(SHIBA, bag)) == {"tEXt", "iTXt"}
    return {
        "seven": seven, "bag": bag, "changed": with_one_other_pixel(seven), "shiba": of_class_called(SHIBA, bag),
        "foreign": without_receipt(), "damaged": cut_off(seven),
    }  # fmt: skip


def row(viewer: Viewer, name: str) -> Locator:
    """The row of a file."""
    return viewer.page.get_by_role("row").filter(has_text=f"{name}.png")


@pytest.fixture
def gallery(visit: Visit, pictures: Running, files: dict[str, bytes]) -> Viewer:
    """The view with all the files added."""
    viewer = visit(pictures)
    viewer.view("Gallery")
    viewer.add_pngs(files)
    expect(row(viewer, "damaged")).to_be_visible()
    return viewer


def test_receipts_are_read_in_the_page_and_nothing_is_uploaded(gallery: Viewer) -> None:
    expect(row(gallery, "seven")).to_contain_text("seven")
    expect(row(gallery, "seven")).to_contain_text("digits-64")
    expect(row(gallery, "bag")).to_contain_text(str(2**60 + 1))
    expect(row(gallery, "shiba")).to_contain_text(SHIBA)
    expect(row(gallery, "foreign")).to_contain_text("no receipt")
    expect(row(gallery, "damaged")).to_contain_text(re.compile("missing|damaged"))
    assert [each for each in gallery.watch.requests if each.method == "POST"] == []


def test_files_are_taken_where_they_are_dropped(visit: Visit, pictures: Running, files: dict[str, bytes]) -> None:
    viewer = visit(pictures)
    viewer.view("Gallery")
    viewer.drop({name: files[name] for name in ("seven", "changed")})
    expect(row(viewer, "seven")).to_contain_text("digits-64")
    expect(row(viewer, "changed")).to_contain_text("digits-64")


def test_the_filter_leaves_what_has_its_words(gallery: Viewer) -> None:
    search = gallery.page.get_by_role("searchbox", name="Filter")
    search.fill("fashion")
    expect(row(gallery, "bag")).to_be_visible()
    expect(row(gallery, "seven")).to_have_count(0)
    search.fill("")
    expect(row(gallery, "seven")).to_be_visible()


def test_made_again_ours_are_equal_and_the_changed_one_is_not(gallery: Viewer) -> None:
    gallery.button("Make again").click()
    for name, words in (("seven", r"\bequal"), ("bag", r"\bequal"), ("changed", r"not equal"), ("shiba", "not equal")):
        expect(row(gallery, name)).to_contain_text(re.compile(words))
    for name in ("seven", "bag"):
        expect(row(gallery, name)).not_to_contain_text("not equal")
    for name in ("foreign", "damaged"):
        expect(row(gallery, name)).not_to_contain_text("equal")
    asked = [each["seed"] for post in gallery.watch.posts("/v1/batch") for each in post.post_data_json["requests"]]
    assert {5, 2**60 + 1} == set(asked)
