"""A sweep is one request; its pictures are those of the API, also on the sheet, and also if the worker dies midway."""

from __future__ import annotations

import io
import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.running import Running
from tests.system.browser.answers import all_generated
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect, expect_page
from tests.system.browser.pngs import Pixels, pixels_of

pytestmark = pytest.mark.system

BASE = {"model": "digits-64", "class_id": 8, "sampler": "ddim", "seed": 11}
FRAGMENT = "/#sweep?model=digits-64&class=8&cfg=4&steps=10&sampler=ddim&seed=11&keep=1"


def bytes_of(server: Running, cells: list[dict[str, Any]]) -> list[bytes]:
    return all_generated(server, [BASE | cell for cell in cells])


def places(sheet: Pixels, picture: Pixels) -> list[tuple[int, int]]:
    """Where on the sheet the picture stands, (y, x) of its upper left corner, pixel for pixel."""
    height, width, _ = picture.shape
    row = int(picture.reshape(height, -1).std(axis=1).argmax())  # the one that is most like no other
    wanted, found = picture[row].tobytes(), []
    for y in range(sheet.shape[0] - height + 1):
        line, at = sheet[y + row].tobytes(), -1
        while (at := line.find(wanted, at + 1)) >= 0:
            x = at // 3
            if at % 3 == 0 and np.array_equal(sheet[y : y + height, x : x + width], picture):
                found.append((y, x))
    return found


def test_every_cell_of_two_axes_is_asked_for_in_one_batch_and_is_the_apis(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x="cfg", x_values="1, 1.5..2.5/0.5", y="steps", y_values="3,5,8")
    viewer.make()
    viewer.wait_for_pictures(12)
    cells = [{"cfg": cfg, "steps": steps} for steps in (3, 5, 8) for cfg in (1, 1.5, 2, 2.5)]
    [post] = viewer.watch.posts("/v1/batch")
    asked = [{name: each[name] for name in (*BASE, "cfg", "steps")} for each in post.post_data_json["requests"]]
    assert asked == [BASE | cell for cell in cells]
    assert viewer.tile_bytes() == bytes_of(pictures, cells)
    heads = viewer.page.get_by_role("columnheader")
    for value in ("1", "1.5", "2", "2.5"):
        expect(heads.get_by_text(value, exact=True)).to_be_visible()
    for value in ("3", "5", "8"):
        expect(viewer.page.get_by_role("rowheader", name=value, exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("axis", "values", "cells"),
    [
        ("sampler", "ddim,ddpm,dpm++", [{"sampler": name} for name in ("ddim", "ddpm", "dpm++")]),
        ("seed", "4..2, 9223372036854775807", [{"seed": seed} for seed in (4, 3, 2, 2**63 - 1)]),
        ("class", "seven, 0..1", [{"class_id": class_id} for class_id in (7, 0, 1)]),
        ("model", "twin,fashion-64", [{"model": name} for name in ("twin", "fashion-64")]),
    ],
)
def test_each_axis_means_what_is_written(
    visit: Visit, pictures: Running, axis: str, values: str, cells: list[dict[str, Any]]
) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x=axis, x_values=values)
    viewer.make()
    viewer.wait_for_pictures(len(cells))
    assert viewer.tile_bytes() == bytes_of(pictures, [{"cfg": 4, "steps": 10} | cell for cell in cells])


def test_what_a_sweep_costs_is_told_before(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x="cfg", x_values="1,4", y="steps", y_values="10,50")
    cost = viewer.page.locator("#cost")
    expect(cost).to_contain_text("4 pictures")
    expect(cost).to_contain_text("180 evaluations")  # 60 steps of one sequence, and 60 of two
    assert viewer.watch.posts("/v1/batch") == []


@pytest.mark.parametrize(
    ("x", "values", "words"),
    [
        ("cfg", "1,21", "20"), ("steps", "5,x", "x"), ("steps", "0", "1"), ("sampler", "euler", "ddpm"),
        ("class", "eleven", "eleven"), ("model", "nothing", "digits-128"), ("seed", "0..99", "64"),
        ("cfg", "1..2/0", "0"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_in_a_sentence_and_nothing_is_made(
    visit: Visit, pictures: Running, x: str, values: str, words: str
) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x=x, x_values=values)
    fault = viewer.page.locator(".fault").filter(visible=True, has_text=re.compile(re.escape(words))).first
    expect(fault).to_have_text(re.compile(r"\.$"))
    expect(viewer.button("Make")).to_be_disabled()
    viewer.page.keyboard.press("Enter")
    assert viewer.watch.posts("/v1/batch") == []


def test_the_contact_sheet_has_every_picture_pixel_for_pixel_in_its_place(
    visit: Visit, pictures: Running, tmp_path: Path
) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x="seed", x_values="3..6", y="class", y_values="2,five,9")
    viewer.make()
    viewer.wait_for_pictures(12)
    with viewer.page.expect_download() as download:
        viewer.button("Save contact sheet").click()
    download.value.save_as(tmp_path / "sheet.png")
    data = (tmp_path / "sheet.png").read_bytes()
    assert Image.open(io.BytesIO(data)).format == "PNG"
    sheet = pixels_of(data)
    found = []
    for png in viewer.tile_bytes():
        [place] = places(sheet, pixels_of(png).repeat(2, axis=0).repeat(2, axis=1))
        found.append(place)
    rows, columns = sorted({y for y, _ in found}), sorted({x for _, x in found})
    assert found == [(y, x) for y in rows for x in columns]
    assert (len(rows), len(columns)) == (3, 4)
    assert len({after - before for line in (rows, columns) for before, after in pairwise(line)}) == 1
    assert sheet.shape[0] > rows[-1] + 128
    assert sheet.shape[1] > columns[-1] + 128
    headers = sheet[: rows[0], columns[0] :]
    assert (headers < 128).any(), "nothing is written above the columns"
    assert (sheet[rows[0] :, : columns[0]] < 128).any(), "nothing is written before the rows"


def test_a_sweep_whose_worker_is_killed_goes_on_and_has_the_same_bytes(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.fill(steps=80)
    viewer.sweep(x="seed", x_values="0..11", y="cfg", y_values="2,4")
    [pid] = worker_pids(pictures)
    seen = len(pictures.seen)
    viewer.make()
    expect(viewer.done.first).to_be_visible()
    assert viewer.done.count() < 24
    os.kill(pid, signal.SIGKILL)
    pictures.wait_for_event("ready", since=seen)
    viewer.wait_for_pictures(24)
    assert len(viewer.watch.posts("/v1/batch")) == 1
    cells = [{"cfg": cfg, "steps": 80, "seed": seed} for cfg in (2, 4) for seed in range(12)]
    assert viewer.tile_bytes() == bytes_of(pictures, cells)


def worker_pids(server: Running) -> list[int]:
    """Of the worker that serves now."""
    return [int(line["worker_pid"]) for line in server.find("ready")][-1:]


def test_the_address_of_a_sweep_shows_it_again(visit: Visit, pictures: Running) -> None:
    viewer = visit(pictures, FRAGMENT)
    viewer.sweep(x="sampler", x_values="ddpm,dpm++", y="class", y_values="three,4")
    viewer.make()
    viewer.wait_for_pictures(4)
    expect_page(viewer.page).to_have_url(re.compile("made=1"))
    other = visit(pictures, viewer.page.url.removeprefix(pictures.url))
    other.wait_for_pictures(4)
    assert other.tile_bytes() == viewer.tile_bytes()
    expect(other.field("X values")).to_have_value("ddpm,dpm++")
    expect(other.field("Y values")).to_have_value("three,4")
