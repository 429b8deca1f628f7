"""Pictures are made by mouse and by keys, come out of the noise before one's eyes, and are those of the API."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from tests.service.running import Running
from tests.system.browser.answers import all_generated, places_are_free
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.viewer import Viewer
from tests.system.prometheus import until

pytestmark = pytest.mark.system

LEAST_LOOKS = 8
SLOW_CLASS = "92"  # of the fake models


def look_by_look(viewer: Viewer, count: int) -> list[list[str]]:
    """What each of so many tiles has shown, one after the other."""
    shown: list[list[str]] = [[] for _ in range(count)]
    for look in viewer.looks():
        if look["picture"] not in ("", *shown[look["index"]][-1:]):
            shown[look["index"]].append(look["picture"])
    return shown


def steps_told(viewer: Viewer, index: int) -> list[int]:
    """The steps in the names that a tile has had."""
    names = [look["name"] for look in viewer.looks() if look["index"] == index]
    return [int(match[1]) for name in names if (match := re.search(r", step (\d+) of \d+$", name))]


@pytest.mark.parametrize(("steps", "images"), [(20, 16), (50, 8)])
def test_each_picture_comes_out_of_the_noise_in_at_least_eight_looks(
    visit: Visit, pictures: Running, steps: int, images: int
) -> None:
    """So many images that one takes half a second, on any machine: there are at most twenty looks a second."""
    viewer = visit(pictures)
    viewer.choose_class("seven")
    viewer.keep_seed(5)
    viewer.fill(steps=steps, guidance_scale=4, images=images)
    viewer.make()
    viewer.wait_for_pictures(images)
    for shown in look_by_look(viewer, images):
        noise, *looks, _picture = shown
        assert noise not in looks
        assert len(set(looks)) >= LEAST_LOOKS


def test_tiles_tell_class_seed_and_step_and_the_step_never_goes_back(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.choose_class(SLOW_CLASS)
    viewer.keep_seed(40)
    viewer.fill(steps=60, images=3)
    viewer.make()
    viewer.wait_for_pictures(3)
    for index, seed in enumerate((40, 41, 42)):
        expect(viewer.tiles.nth(index)).to_have_accessible_name(f"class 92, seed {seed}, done")
        expect(viewer.tiles.nth(index)).to_contain_text(str(seed))
        told = steps_told(viewer, index)
        assert len(set(told)) >= 10
        assert all(before <= after for before, after in pairwise(told))
        assert told[-1] <= 60


def test_a_picture_has_the_bytes_of_the_api(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    viewer.fill(model="fashion-64")
    viewer.choose_class("bag")
    viewer.keep_seed(7)
    viewer.fill(steps=12, guidance_scale=2.5, sampler="dpm++", images=3)
    viewer.make()
    viewer.wait_for_pictures(3)
    asked = {"model": "fashion-64", "class_id": 8, "cfg": 2.5, "steps": 12, "sampler": "dpm++"}
    assert viewer.tile_bytes() == all_generated(pictures, [asked | {"seed": seed} for seed in (7, 8, 9)])


def test_a_seed_above_what_javascript_counts_is_drawn_exactly(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures)
    seed = 2**63 - 2
    viewer.choose_class("3")
    viewer.keep_seed(seed)
    viewer.fill(steps=4, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    expect(viewer.tiles.nth(1)).to_have_accessible_name(f"three, seed {seed + 1}, done")
    asked = {"model": "digits-64", "class_id": 3, "steps": 4}
    assert viewer.tile_bytes() == all_generated(pictures, [asked | {"seed": seed + k} for k in range(2)])


@pytest.mark.parametrize("way", ["Escape", "Stop"])
def test_what_is_stopped_frees_its_places_at_the_service(visit: Visit, fakes: Running, way: str) -> None:
    viewer = visit(fakes)
    viewer.choose_class(SLOW_CLASS)
    viewer.fill(steps=1000, images=4)
    viewer.make()
    expect(viewer.tiles.first).to_have_accessible_name(re.compile(", step "))
    assert not places_are_free(fakes)
    if way == "Stop":
        viewer.button("Stop").click()
    else:
        viewer.page.keyboard.press(way)
    until(lambda: places_are_free(fakes), "places that are free")
    expect(viewer.tiles.last).to_have_accessible_name(re.compile(", stopped$"))
    expect(viewer.button("Make")).to_be_enabled()


def test_what_fails_says_so_in_the_services_words(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.choose_class("90")
    viewer.fill(steps=5, images=2)
    viewer.make()
    expect(viewer.failed).to_have_count(2)
    viewer.failed.first.click()
    dialog = viewer.page.get_by_role("dialog", name="Picture")
    expect(dialog).to_contain_text("an error came up while this image was being made")


def test_without_a_seed_to_keep_every_make_draws_another(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    viewer.fill(steps=2, images=1)
    seeds = set()
    for _ in range(3):
        before = viewer.watch.posts("/v1/batch")
        viewer.make()
        viewer.wait_for_pictures(1)
        [post] = viewer.watch.posts("/v1/batch")[len(before) :]
        seeds.add(post.post_data_json["requests"][0]["seed"])
    assert len(seeds) == 3
