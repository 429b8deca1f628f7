"""The address alone holds the view: reload, back, another browser and another tab show the same bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.service.running import Running
from tests.system.browser.answers import all_generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect, expect_page

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.system

ASKED = {"model": "digits-128", "class_id": 4, "cfg": 3, "steps": 6, "sampler": "dpm++"}


def path_of(url: str, server: Running) -> str:
    assert url.startswith(f"{server.url}/#")
    return url.removeprefix(server.url)


def test_a_reload_and_another_browser_show_the_same_bytes(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.fill(model="digits-128")
    viewer.choose_class("4")
    viewer.keep_seed(30)
    viewer.fill(steps=6, guidance_scale=3, sampler="dpm++", images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    wanted = all_generated(pictures, [ASKED | {"seed": seed} for seed in (30, 31)])
    assert viewer.tile_bytes() == wanted
    expect_page(viewer.page).to_have_url(re.compile("made=1"))
    viewer.page.reload()
    viewer.wait_for_pictures(2)
    assert viewer.tile_bytes() == wanted
    other = visit(pictures, path_of(viewer.page.url, pictures))
    other.wait_for_pictures(2)
    assert other.tile_bytes() == wanted
    expect(other.classes).to_have_value(re.compile("^4 "))
    for label, value in (("Steps", "6"), ("Guidance scale", "3"), ("Seed", "30"), ("Images", "2")):
        expect(other.field(label)).to_have_value(value)
    expect(other.field("Model")).to_have_value("digits-128")
    expect(other.field("Sampler")).to_have_value("dpm++")


def test_a_drawn_seed_is_in_the_address_too(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.fill(steps=4, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    expect_page(viewer.page).to_have_url(re.compile("made=1"))
    other = visit(pictures, path_of(viewer.page.url, pictures))
    other.wait_for_pictures(2)
    assert other.tile_bytes() == viewer.tile_bytes()


def test_back_shows_what_was_made_before_and_forward_what_came_after(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.keep_seed(1)
    viewer.fill(steps=4, images=1)
    shown = []
    for query, name in (("2", "two"), ("8", "eight")):
        viewer.choose_class(query)
        viewer.make()
        expect(viewer.done).to_have_accessible_name(re.compile(f"^{name}, seed 1"))
        expect_page(viewer.page).to_have_url(re.compile(f"class={query}.*made=1"))
        shown += viewer.tile_bytes()
    viewer.page.go_back()
    expect(viewer.done).to_have_accessible_name(re.compile("^two, seed 1"))
    assert viewer.tile_bytes() == shown[:1]
    expect(viewer.classes).to_have_value(re.compile("^2 "))
    viewer.page.go_forward()
    expect(viewer.done).to_have_accessible_name(re.compile("^eight, seed 1"))
    assert viewer.tile_bytes() == shown[1:]


def test_a_view_that_is_chosen_before_the_models_are_known_stays_chosen(visit: Visit, fakes: Running) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    viewer = visit(fakes, "/livez")
    viewer.page.route("**/v1/models", hold)
    viewer.page.goto(fakes.url)
    viewer.view("Sweep")
    viewer.page.wait_for_function("document.querySelector('#tab-sweep').ariaSelected === 'true'")
    while not held:
        viewer.page.wait_for_timeout(20)
    held[0].continue_()
    expect(viewer.field("X values")).to_be_visible()


@pytest.mark.parametrize("view", ["make?model=gone", "compare?model=digits-64&right=gone&classes=1&seeds=0"])
def test_a_link_of_a_model_that_is_not_loaded_says_so_and_makes_nothing_of_another(
    visit: Visit, pictures: Running, view: str
) -> None:
    viewer = visit(pictures, f"/#{view}&made=1")
    expect(viewer.page.get_by_text("This link is of the model gone, which is not loaded here.")).to_be_visible()
    expect(viewer.tiles).to_have_count(0)
    assert viewer.watch.posts("/v1/batch") == []


def test_two_tabs_at_once_do_not_disturb_each_other(visit: Visit, pictures: Running) -> None:
    first = visit(pictures)
    second = first.another_tab()
    for viewer, query, seed in ((first, "1", 3), (second, "9", 50)):
        viewer.page.bring_to_front()
        viewer.choose_class(query)
        viewer.keep_seed(seed)
        viewer.fill(steps=40, images=6)
        viewer.make()
    for viewer, class_id, seed in ((first, 1, 3), (second, 9, 50)):
        viewer.page.bring_to_front()
        viewer.wait_for_pictures(6)
        asked = {"model": "digits-64", "class_id": class_id, "steps": 40}
        assert viewer.tile_bytes() == all_generated(pictures, [asked | {"seed": seed + k} for k in range(6)])


def test_an_address_that_makes_no_sense_shows_the_page_all_the_same(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes, "/#nowhere?model=none&class=-3&cfg=abc&steps=1e9&sampler=x&seed=&n=99&x=%")
    viewer.fill(steps=2, images=1)
    viewer.make()
    viewer.wait_for_pictures(1)
