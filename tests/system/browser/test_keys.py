"""The API key: asked for once in a tab, told to be wrong, kept in that tab, sent in a header and never in a URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.service.running import Running, fake_command, running
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.viewer import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.system

KEY, WRONG = "correct-horse-battery", "incorrect-horse-battery"
REFUSED = "status of 401"  # which Chromium writes into the console by itself


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with running(fake_command(), DIT_API_KEYS=f"another-key-of-somebody,{KEY}") as server:
        yield server


def question(viewer: Viewer) -> Locator:
    return viewer.page.get_by_role("dialog", name="API key")


def answer(viewer: Viewer, key: str) -> None:
    question(viewer).get_by_label("API key", exact=True).fill(key)
    question(viewer).get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_once_and_a_wrong_one_is_told(visit: Visit, locked: Running) -> None:
    viewer = visit(locked)
    viewer.watch.expect_fault(REFUSED)
    expect(question(viewer)).to_have_count(1)
    answer(viewer, WRONG)
    expect(question(viewer)).to_contain_text("no such key")
    answer(viewer, KEY)
    expect(question(viewer)).to_have_count(0)
    viewer.fill(steps=3, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)
    viewer.page.reload()
    viewer.wait_for_pictures(2)
    expect(question(viewer)).to_have_count(0)


def test_a_key_is_kept_for_its_tab_alone(visit: Visit, locked: Running) -> None:
    viewer = visit(locked)
    viewer.watch.expect_fault(REFUSED)
    answer(viewer, KEY)
    expect(question(viewer)).to_have_count(0)
    kept = viewer.page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
    assert KEY in kept[0]
    assert KEY not in kept[1]
    assert kept[2] == ""
    expect(question(viewer.another_tab())).to_have_count(1)


def test_a_key_goes_in_a_header_and_in_no_url(visit: Visit, locked: Running) -> None:
    viewer = visit(locked)
    viewer.watch.expect_fault(REFUSED)
    answer(viewer, KEY)
    viewer.fill(steps=3, images=1)
    viewer.make()
    viewer.wait_for_pictures(1)
    assert KEY not in viewer.page.url
    assert [each.url for each in viewer.watch.requests if KEY in each.url] == []
    [made] = viewer.watch.posts("/v1/batch")
    assert made.all_headers()["authorization"] == f"Bearer {KEY}"
    assert KEY not in (made.post_data or "")
    viewer.done.first.click()
    dialog = viewer.page.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_role("button", name="Copy as curl")).to_be_visible()
    assert KEY not in viewer.page.content()
