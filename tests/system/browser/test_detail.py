"""One picture, large: saved, copied as commands that work, made again and compared byte for byte."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dit_serve.service.image.png import read_receipt
from tests.service.running import Running, clean_environment
from tests.system.browser.answers import generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.pngs import pixels_of, with_one_other_pixel
from tests.system.browser.viewer import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Route

pytestmark = pytest.mark.system

ASKED = {"model": "digits-64", "class_id": 6, "cfg": 1.75, "steps": 8, "seed": 12, "sampler": "ddpm"}
FRAGMENT = "#make?model=digits-64&class=6&cfg=1.75&steps=8&sampler=ddpm&seed=12&n=1&keep=1"


def opened(viewer: Viewer) -> Locator:
    """The dialog with the first picture, after it was made."""
    viewer.make()
    viewer.wait_for_pictures(1)
    viewer.done.first.click()
    return viewer.page.get_by_role("dialog", name="Picture")


@pytest.fixture
def viewer(visit: Visit, pictures: Running) -> Viewer:
    return visit(pictures, f"/{FRAGMENT}", permissions=["clipboard-read", "clipboard-write"])


def test_the_dialog_tells_the_receipt_and_where_the_time_went(viewer: Viewer, pictures: Running) -> None:
    dialog = opened(viewer)
    receipt = read_receipt(generated(pictures, ASKED))
    for name in ("class_name", "cfg", "steps", "sampler", "seed", "resolution", "weights_sha256", "version"):
        expect(dialog).to_contain_text(str(getattr(receipt, name)).removesuffix(".0"))
    for stage in ("queue", "denoise", "decode", "encode"):
        expect(dialog).to_contain_text(stage)


def test_a_saved_picture_is_the_one_of_the_api(viewer: Viewer, pictures: Running, tmp_path: Path) -> None:
    dialog = opened(viewer)
    with viewer.page.expect_download() as download:
        dialog.get_by_role("button", name="Save PNG").click()
    download.value.save_as(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == generated(pictures, ASKED)
    assert download.value.suggested_filename.endswith("12.png")


@pytest.mark.parametrize("way", ["curl", "Python", "OpenAI"])
def test_what_is_copied_makes_the_same_picture(viewer: Viewer, pictures: Running, tmp_path: Path, way: str) -> None:
    dialog = opened(viewer)
    dialog.get_by_role("button", name=f"Copy as {way}").click()
    expect(viewer.live_region).to_contain_text("Copied")
    text = viewer.page.evaluate("navigator.clipboard.readText()")
    command = ["bash", "-e", "-c", text] if way == "curl" else [sys.executable, "-c", text]
    direct = {name: "*" for name in ("no_proxy", "NO_PROXY")} | {"PATH": os.environ["PATH"]}
    subprocess.run(command, cwd=tmp_path, env=clean_environment() | direct, check=True, capture_output=True)
    [path] = tmp_path.iterdir()
    assert path.read_bytes() == generated(pictures, ASKED), shlex.quote(text)


def test_a_copied_link_shows_this_picture_to_somebody_else(viewer: Viewer, pictures: Running, visit: Visit) -> None:
    dialog = opened(viewer)
    dialog.get_by_role("button", name="Copy link").click()
    expect(viewer.live_region).to_contain_text("Copied")
    link = viewer.page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{pictures.url}/#make?")
    other = visit(pictures, link.removeprefix(pictures.url))
    other.wait_for_pictures(1)
    assert other.tile_bytes() == [generated(pictures, ASKED)]


def test_made_again_it_is_equal_byte_for_byte(viewer: Viewer) -> None:
    dialog = opened(viewer)
    before = len(viewer.watch.posts("/v1/batch"))
    dialog.get_by_role("button", name="Make again").click()
    expect(dialog).to_contain_text("equal, byte for byte")
    assert len(viewer.watch.posts("/v1/batch")) == before + 1


def test_made_again_a_picture_with_one_other_pixel_is_not_equal(viewer: Viewer) -> None:
    """A proxy on the way changes it: the page compares, and believes nobody."""

    def change(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=with_another_picture(answer.text()))

    dialog = opened(viewer)
    viewer.page.route("**/v1/batch", change)
    dialog.get_by_role("button", name="Make again").click()
    expect(dialog).to_contain_text("not equal: ")


def with_another_picture(stream: str) -> str:
    """The events of a batch, the finished picture changed by one bit."""
    events = stream.split("\n\n")
    [at] = [k for k, event in enumerate(events) if "event: completed" in event]
    [line] = [line for line in events[at].splitlines() if line.startswith("data:")]
    data = json.loads(line.removeprefix("data:"))
    changed = with_one_other_pixel(base64.b64decode(data["b64_png"]))
    assert (pixels_of(changed) != pixels_of(base64.b64decode(data["b64_png"]))).sum() == 1
    data["b64_png"] = base64.b64encode(changed).decode()
    events[at] = events[at].replace(line, f"data: {json.dumps(data)}")
    return "\n\n".join(events)
