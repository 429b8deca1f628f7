"""Two models side by side: which pixels differ, counted as NumPy counts them, and the flicker between them."""

from __future__ import annotations

import re

import pytest

from tests.service.running import Running
from tests.system.browser.answers import all_generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect, expect_page
from tests.system.browser.pngs import pixels_of
from tests.system.browser.viewer import Viewer

pytestmark = pytest.mark.system

ASKED = {"cfg": 4, "steps": 6, "sampler": "ddim"}


def compared(visit: Visit, server: Running, right: str, classes: str = "2,7", seeds: str = "0..1") -> Viewer:
    """The view with the pairs of digits-64 and another model, all made."""
    viewer = visit(server, "/#compare?model=digits-64&class=2&cfg=4&steps=6&sampler=ddim&seed=0&keep=1")
    viewer.fill(left_model="digits-64", right_model=right, classes=classes, seeds=seeds)
    viewer.make()
    return viewer


def pairs(server: Running, right: str) -> list[bytes]:
    """What the view has to show, left and right in turn."""
    wanted = [(class_id, seed, model) for class_id in (2, 7) for seed in (0, 1) for model in ("digits-64", right)]
    return all_generated(server, [ASKED | {"model": m, "class_id": c, "seed": s} for c, s, m in wanted])


def test_one_checkpoint_under_two_names_differs_in_no_pixel(visit: Visit, pictures: Running) -> None:
    viewer = compared(visit, pictures, "twin")
    viewer.wait_for_pictures(8)
    expect(viewer.page.get_by_text(re.compile(r"\b0 of 4,?096 pixels differ"))).to_have_count(4)


def test_of_two_models_as_many_pixels_differ_as_numpy_counts(visit: Visit, pictures: Running) -> None:
    viewer = compared(visit, pictures, "fashion-64")
    viewer.wait_for_pictures(8)
    made = viewer.tile_bytes()
    assert made == pairs(pictures, "fashion-64")
    words = viewer.page.get_by_text(re.compile(r"of 4,?096 pixels differ"))
    expect(words).to_have_count(4)
    for k in range(4):
        differ = (pixels_of(made[2 * k]) != pixels_of(made[2 * k + 1])).any(axis=2).sum()
        assert differ > 0
        assert re.search(rf"\b{differ} of 4096", words.nth(k).inner_text().replace(",", ""))


def test_models_of_different_sizes_are_told_to_be_so(visit: Visit, pictures: Running) -> None:
    viewer = compared(visit, pictures, "digits-128", classes="3", seeds="5")
    viewer.wait_for_pictures(2)
    expect(viewer.page.get_by_text("different sizes")).to_be_visible()


@pytest.mark.parametrize("way", ["mouse", "space", "button by keys"])
def test_flicker_shows_the_right_pictures_in_place_of_the_left_ones_as_long_as_it_is_held(
    visit: Visit, pictures: Running, way: str
) -> None:
    viewer = compared(visit, pictures, "fashion-64", classes="2", seeds="0")
    viewer.wait_for_pictures(2)
    before = viewer.tile_bytes()
    flicker = viewer.button("Flicker")
    if way == "mouse":
        flicker.hover()
        viewer.page.mouse.down()
    else:
        if way == "button by keys":
            viewer.tab_to(flicker)
        else:
            viewer.page.evaluate("document.activeElement.blur()")
        viewer.page.keyboard.down("Space")
    expect(flicker).to_have_attribute("aria-pressed", "true")
    assert viewer.tile_bytes() == [before[1], before[1]]
    if way == "mouse":
        viewer.page.mouse.up()
    else:
        viewer.page.keyboard.up("Space")
    expect(flicker).to_have_attribute("aria-pressed", "false")
    assert viewer.tile_bytes() == before


def test_the_address_of_a_comparison_shows_it_again(visit: Visit, pictures: Running) -> None:
    viewer = compared(visit, pictures, "twin", classes="two,4", seeds="1,9")
    viewer.wait_for_pictures(8)
    expect_page(viewer.page).to_have_url(re.compile("made=1"))
    other = visit(pictures, viewer.page.url.removeprefix(pictures.url))
    other.wait_for_pictures(8)
    assert other.tile_bytes() == viewer.tile_bytes()
    expect(other.field("Right model")).to_have_value("twin")
