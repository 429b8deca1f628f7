"""A full queue is waited for with a countdown; what the service refuses is told in its own words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.service.running import Running, fake_command, running
from tests.system.browser.answers import status
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.system

FILLING = {"class_id": 92, "steps": 200, "n": 16}  # all 32 places, for four seconds at the least


@pytest.fixture(scope="module")
def narrow() -> Iterator[Running]:
    with running(fake_command("--max-batch-sequences", "32", "--max-queue-sequences", "32")) as server:
        yield server


@contextmanager
def filled(server: Running) -> Iterator[None]:
    """Another client has every place, until it is served."""
    with (
        server.client() as client,
        client.stream("POST", "/generate", json=FILLING, headers={"accept": "text/event-stream"}) as answer,
    ):
        lines = answer.iter_lines()
        assert "event: progress" in lines  # read until it comes
        assert status(server)["queue"]["places_taken"] == 32
        yield
        assert "event: completed" in lines


def test_a_full_queue_shows_a_countdown_and_goes_on_by_itself(visit: Visit, narrow: Running) -> None:
    viewer = visit(narrow)
    viewer.watch.expect_fault("status of 429")
    viewer.fill(steps=5, images=3)
    with filled(narrow):
        viewer.make()
        countdown = viewer.page.get_by_text(re.compile(r"again in \d+ s\.")).filter(visible=True).first
        expect(countdown).to_be_visible()
        assert status(narrow)["queue"]["places_taken"] == 32
        viewer.wait_for_pictures(3)
    expect(countdown).to_have_count(0)


def test_a_wait_for_places_can_be_stopped(visit: Visit, narrow: Running) -> None:
    viewer = visit(narrow)
    viewer.watch.expect_fault("status of 429")
    viewer.fill(steps=5, images=3)
    with filled(narrow):
        viewer.make()
        expect(viewer.page.get_by_text(re.compile(r"again in \d+ s\.")).filter(visible=True).first).to_be_visible()
        viewer.page.keyboard.press("Escape")
        expect(viewer.button("Make")).to_be_enabled()
        expect(viewer.tiles.first).to_have_accessible_name(re.compile("stopped"))


def test_a_refusal_is_told_in_the_services_words(visit: Visit, fakes: Running) -> None:
    def ask_for_too_much(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        body["requests"][1]["steps"] = 5000
        route.continue_(post_data=json.dumps(body))

    viewer = visit(fakes)
    viewer.watch.expect_fault("status of 422")
    viewer.page.route("**/v1/batch", ask_for_too_much)
    viewer.fill(steps=5, images=2)
    viewer.make()
    expect(viewer.page.get_by_text(re.compile(r"requests\[1\]\.steps.*1000")).filter(visible=True).first).to_be_visible()
    expect(viewer.button("Make")).to_be_enabled()
