"""Nothing keeps people from the page: axe-core in every view, narrow and wide, light and dark; no unwanted motion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.service.running import Running
from tests.system.browser.answers import generated
from tests.system.browser.axe import violations
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.pngs import of_class_called, with_one_other_pixel, without_receipt

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.system

VIEWS = ("Make", "Sweep", "Compare", "Gallery")
SIZES = {"wide": (1440, 900), "tablet": (1024, 768), "phone": (390, 844)}
SCHEMES = ("light", "dark")


def check(page: Page, where: str, sizes: dict[str, tuple[int, int]] = SIZES) -> None:
    """axe-core and the page's width at every size, in light and in dark."""
    found = []
    for size, (width, height) in sizes.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found += [f"{where}, {size}, {scheme}: {each}" for each in violations(page)]
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            found += [f"{where}, {size}: the page is {wider} pixels wider than the window"] if wider else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_view_is_for_everybody(visit: Visit, fakes: Running, view: str) -> None:
    viewer = visit(fakes)
    viewer.view(view)
    check(viewer.page, f"{view}, empty")


def test_make_with_pictures_and_with_failures_is_for_everybody(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.fill(steps=3, images=5)
    viewer.make()
    viewer.wait_for_pictures(5)
    check(viewer.page, "Make, full")


def test_pictures_under_way_and_failed_ones_are_for_everybody(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.choose_class("92")
    viewer.fill(steps=1000, images=3)
    viewer.make()
    expect(viewer.tiles.first).to_have_accessible_name(re.compile(", step "))
    check(viewer.page, "Make, under way")
    viewer.page.keyboard.press("Escape")
    check(viewer.page, "Make, stopped")
    viewer.choose_class("90")
    viewer.make()
    expect(viewer.failed).to_have_count(3)
    check(viewer.page, "Make, failed")


def test_open_lists_and_dialogs_are_for_everybody(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.fill(steps=3, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    viewer.classes.click()
    expect(viewer.found.first).to_be_visible()
    check(viewer.page, "the list of classes")
    viewer.page.keyboard.press("Escape")
    viewer.button("Keys").click()
    expect(viewer.page.get_by_role("dialog", name="Keys")).to_be_visible()
    check(viewer.page, "the list of keys")
    viewer.page.keyboard.press("Escape")
    viewer.done.first.click()
    expect(viewer.page.get_by_role("dialog", name="Picture")).to_be_visible()
    check(viewer.page, "a picture")


def test_a_full_sweep_is_for_everybody(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.view("Sweep")
    viewer.sweep(x="cfg", x_values="1,2,4", y="steps", y_values="2,4")
    viewer.make()
    viewer.wait_for_pictures(6)
    check(viewer.page, "Sweep, full")
    viewer.fill(X_values="1..99")
    check(viewer.page, "Sweep, wrong values")


def test_a_full_comparison_is_for_everybody(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.view("Compare")
    viewer.fill(left_model="digits-64", right_model="fashion-64", classes="1,2", seeds="0..1", steps=3)
    viewer.make()
    expect(viewer.page.get_by_text("pixels differ").first).to_be_visible()
    check(viewer.page, "Compare, full")


def test_a_full_gallery_is_for_everybody(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.view("Gallery")
    png = generated(pictures, {"class_id": 3, "steps": 4, "seed": 1})
    files = {"a": png, "b": with_one_other_pixel(png), "c": without_receipt(), "d": of_class_called("柴犬", png)}
    viewer.add_pngs(files)
    expect(viewer.page.get_by_text("柴犬").first).to_be_visible()
    check(viewer.page, "Gallery, full")


def test_nothing_moves_for_those_who_want_no_motion(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes, reduced_motion="reduce")
    viewer.choose_class("92")
    viewer.fill(steps=1000, images=2)
    viewer.make()
    expect(viewer.tiles.first).to_have_accessible_name(re.compile(", step "))
    for view in VIEWS:
        viewer.view(view)
        running = "document.getAnimations().filter((each) => each.playState === 'running').length"
        assert viewer.page.evaluate(running) == 0, view
    viewer.view("Make")
    viewer.page.keyboard.press("Escape")


@pytest.mark.parametrize("view", VIEWS)
def test_one_polite_live_region_tells_what_happens(visit: Visit, fakes: Running, view: str) -> None:
    viewer = visit(fakes)
    viewer.view(view)
    expect(viewer.live_region).to_have_count(1)
    expect(viewer.live_region).to_have_attribute("aria-live", "polite")
    expect(viewer.page.locator("[role=alert], [role=log], [role=timer]")).to_have_count(0)


def test_the_page_is_usable_at_four_times_the_size_of_its_letters(visit: Visit, fakes: Running) -> None:
    """WCAG 1.4.10: 1280 pixels at 400 % are 320."""
    viewer = visit(fakes, viewport={"width": 320, "height": 256})
    for view in VIEWS:
        viewer.view(view)
        wider = viewer.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, view
