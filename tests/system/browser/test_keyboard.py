"""Everything goes by keys: Tab reaches what there is and is seen there; letters do as listed, or are turned off."""

from __future__ import annotations

import re

import pytest

from tests.service.running import Running
from tests.system.browser.answers import generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.viewer import DRAWN, Viewer

pytestmark = pytest.mark.system

VIEWS = ("Make", "Sweep", "Compare", "Gallery")


@pytest.fixture
def viewer(visit: Visit, fakes: Running) -> Viewer:
    """At the page, two pictures made, the focus nowhere."""
    viewer = visit(fakes, permissions=["clipboard-read", "clipboard-write"])
    viewer.keep_seed(8)
    viewer.fill(steps=2, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    viewer.page.evaluate("document.activeElement.blur()")
    return viewer


def test_keys_alone_find_a_class_set_every_field_and_make(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    keyboard = viewer.page.keyboard
    expect(viewer.button("Make")).to_be_enabled()
    keyboard.press("/")
    expect(viewer.classes).to_be_focused()
    keyboard.type("f")  # 4 and 5
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(viewer.classes).to_have_value(re.compile("five"))
    for label, text in (("Guidance scale", "3"), ("Steps", "10"), ("Seed", "21"), ("Images", "2")):
        viewer.tab_to(viewer.field(label))
        keyboard.press("Control+a")
        keyboard.type(text)
    keyboard.press("Enter")
    viewer.wait_for_pictures(2)
    asked = {"model": "digits-64", "class_id": 5, "cfg": 3, "steps": 10}
    assert viewer.tile_bytes() == [generated(pictures, asked | {"seed": seed}) for seed in (21, 22)]

    viewer.tab_to(viewer.tiles.first)
    keyboard.press("Enter")
    dialog = viewer.page.get_by_role("dialog", name="Picture")
    expect(dialog).to_contain_text("five")
    keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("2 of 2")
    keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(viewer.tiles.first).to_be_focused()


@pytest.mark.parametrize("view", VIEWS)
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(viewer: Viewer, view: str) -> None:
    viewer.view(view)
    wanted, reached = viewer.tab_through()
    assert len(wanted) >= 4
    assert reached == wanted
    assert viewer.unseen_when_focused() == []


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["wide", "phone"])
def test_what_has_the_focus_is_seen_at_every_size(viewer: Viewer, size: tuple[int, int]) -> None:
    viewer.page.set_viewport_size({"width": size[0], "height": size[1]})
    assert viewer.unseen_when_focused() == []


def test_a_dialog_keeps_the_focus_and_gives_it_back(viewer: Viewer) -> None:
    viewer.tab_to(viewer.button("Keys"))
    viewer.page.keyboard.press("Enter")
    dialog = viewer.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
    for _ in range(8):
        viewer.page.keyboard.press("Tab")
        assert viewer.page.evaluate(inside)
    viewer.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(viewer.button("Keys")).to_be_focused()


def test_numbers_and_arrows_go_from_view_to_view(viewer: Viewer) -> None:
    def current(name: str) -> None:
        expect(viewer.page.get_by_role("tab", selected=True)).to_have_accessible_name(name)

    for key, name in zip("2341", ("Sweep", "Compare", "Gallery", "Make"), strict=True):
        viewer.page.keyboard.press(key)
        current(name)
    viewer.page.get_by_role("tab", name="Make", exact=True).focus()
    for key, name in (("ArrowRight", "Sweep"), ("ArrowLeft", "Make"), ("ArrowLeft", "Gallery")):
        viewer.page.keyboard.press(key)
        current(name)
        expect(viewer.page.get_by_role("tab", name=name, exact=True)).to_be_focused()


def test_letters_draw_seeds_and_classes_and_keep_them(viewer: Viewer) -> None:
    keyboard, keep = viewer.page.keyboard, viewer.page.get_by_label("keep")
    expect(keep).to_be_checked()
    keyboard.press("l")
    expect(keep).not_to_be_checked()
    before = viewer.field("Seed").input_value()
    keyboard.press("r")
    expect(viewer.field("Seed")).not_to_have_value(before)
    shown = {viewer.classes.input_value()}
    for _ in range(8):
        keyboard.press("s")
        viewer.page.evaluate(DRAWN)
        shown.add(viewer.classes.input_value())
    assert len(shown) >= 3


def test_a_tile_is_gone_to_by_arrows_saved_and_linked_by_letters(viewer: Viewer) -> None:
    keyboard = viewer.page.keyboard
    viewer.tiles.first.focus()
    keyboard.press("ArrowRight")
    expect(viewer.tiles.nth(1)).to_be_focused()
    with viewer.page.expect_download() as download:
        keyboard.press("d")
    assert download.value.path().read_bytes() == viewer.tile_bytes()[1]
    keyboard.press("c")
    expect(viewer.live_region).to_contain_text("Copied")
    assert "seed=9" in viewer.page.evaluate("navigator.clipboard.readText()")


def test_letters_typed_into_a_field_are_no_keys(viewer: Viewer) -> None:
    viewer.classes.click()
    viewer.page.keyboard.type("class 42")
    expect(viewer.page.get_by_role("tab", selected=True)).to_have_accessible_name("Make")
    expect(viewer.classes).to_have_value("class 42")


def test_letters_can_be_turned_off_as_keys(viewer: Viewer) -> None:
    keyboard = viewer.page.keyboard
    keyboard.press("?")
    dialog = viewer.page.get_by_role("dialog", name="Keys")
    dialog.get_by_label("letters are keys").uncheck()
    keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    viewer.page.reload()
    viewer.wait_for_pictures(2)
    for key in "2?/s":
        keyboard.press(key)
    viewer.page.evaluate(DRAWN)
    expect(dialog).to_have_count(0)
    expect(viewer.page.get_by_role("tab", selected=True)).to_have_accessible_name("Make")
    expect(viewer.classes).not_to_be_focused()

    posts = len(viewer.watch.posts("/v1/batch"))  # but Enter, which is no letter, makes
    viewer.page.get_by_label("keep").uncheck()
    viewer.page.evaluate("document.activeElement.blur()")
    keyboard.press("Enter")
    expect(viewer.done.first).not_to_have_accessible_name(re.compile("seed 8,"))
    viewer.wait_for_pictures(2)
    assert len(viewer.watch.posts("/v1/batch")) == posts + 1
