"""The service goes away and comes back while the page is open: the page says so, and goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.service.running import Running, fake_command, free_port, running
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.viewer import Viewer

pytestmark = pytest.mark.system

LOST = r"net::ERR_|status of 503"  # which Chromium writes into the console by itself


class Restarted:
    """A service at one port that can be ended and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self._life = ExitStack()
        self.server: Running | None = None

    def start(self, models: str = "fake-64,fake-128") -> Running:
        flags = ("--port", str(self.port), "--standby", "false")  # the last --port counts
        self.server = self._life.enter_context(running(fake_command(*flags, models=models)))
        return self.server

    def kill(self) -> None:
        self._life.close()


@pytest.fixture
def service() -> Iterator[Restarted]:
    made = Restarted()
    yield made
    made.kill()


def corner(viewer: Viewer, words: str) -> None:
    expect(viewer.page.get_by_role("group", name="Service")).to_contain_text(re.compile(words))


def test_the_corner_says_that_the_service_is_away_and_when_it_is_back(visit: Visit, service: Restarted) -> None:
    viewer = visit(service.start())
    corner(viewer, r"^\s*ready")
    service.kill()
    viewer.watch.expect_fault(LOST)
    corner(viewer, "away")
    expect(viewer.live_region).to_contain_text("away")
    expect(viewer.page.get_by_text("cannot be reached").first).to_be_visible()
    service.start()
    corner(viewer, r"^\s*ready")
    expect(viewer.page.get_by_text("cannot be reached").filter(visible=True)).to_have_count(0)
    viewer.fill(steps=3, images=2)
    viewer.make()
    viewer.wait_for_pictures(2)


def test_pictures_under_way_are_finished_by_the_service_that_comes_back(visit: Visit, service: Restarted) -> None:
    viewer = visit(service.start())
    viewer.choose_class("92")
    viewer.fill(steps=200, images=3)
    viewer.make()
    expect(viewer.tiles.first).to_have_accessible_name(re.compile(r", step \d"))
    service.kill()
    viewer.watch.expect_fault(LOST)
    corner(viewer, "away")
    service.start()
    viewer.wait_for_pictures(3)
    assert len(viewer.watch.posts("/v1/batch")) >= 2


def test_other_models_after_a_restart_are_offered_without_a_reload(visit: Visit, service: Restarted) -> None:
    viewer = visit(service.start())
    expect(viewer.field("Model").get_by_role("option")).to_have_count(2)
    service.kill()
    viewer.watch.expect_fault(LOST)
    corner(viewer, "away")
    service.start("fake-32")
    expect(viewer.field("Model").get_by_role("option")).to_have_count(1)
    expect(viewer.field("Model")).to_have_value("fake-32")
    viewer.fill(steps=3, images=1)
    viewer.make()
    viewer.wait_for_pictures(1)


def test_a_worker_that_dies_is_told_and_the_picture_comes_all_the_same(visit: Visit, service: Restarted) -> None:
    """The class that kills takes two workers down, and fails alone; what was asked beside it is made."""
    server = service.start()
    viewer = visit(server)
    viewer.choose_class("91")
    viewer.fill(steps=5, images=1)
    viewer.make()
    expect(viewer.failed).to_have_count(1)
    server.wait_for_event("ready", since=0)
    corner(viewer, r"^\s*ready")
    viewer.choose_class("1")
    viewer.make()
    viewer.wait_for_pictures(1)
