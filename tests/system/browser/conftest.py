"""One Chromium, servers with real and with fake models, and pages in contexts that are judged after every test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.running import FREE_PORTS, Running, fake_command, running
from tests.system.browser import driver
from tests.system.browser.viewer import Viewer
from tests.system.browser.watch import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Visit = Callable[..., Viewer]
REAL_MODELS = "digits-64,digits-128,fashion-64,twin=digits-64"  # the last and the first are one checkpoint


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Of these tests alone: while Playwright runs, nothing else in this thread can run an event loop."""
    with driver.chromium() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def pictures() -> Iterator[Running]:
    """`dit serve` with the demo models."""
    flags = ("--devices", "cpu", "--standby", "false", "--models", REAL_MODELS)
    with running([str(Path(sys.executable).parent / "dit"), "serve", *FREE_PORTS, *flags]) as server:
        yield server


@pytest.fixture(scope="package")
def fakes() -> Iterator[Running]:
    """The fake models, for what is slow, fails or kills the worker by request."""
    with running(fake_command()) as server:
        yield server


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens the page of a server in a context of its own; at the test's end all contexts are judged."""
    watches: list[Watch] = []

    def open_page(server: Running | str, path: str = "/", **options: Any) -> Viewer:
        origin = server if isinstance(server, str) else server.url
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
        context.set_default_timeout(driver.PATIENCE_MS)
        watches.append(Watch(context, origin))
        viewer = Viewer(context.new_page(), watches[-1])
        viewer.page.goto(origin + path)
        return viewer

    yield open_page
    try:
        for watch in watches:
            watch.judge()
    finally:
        for watch in watches:
            watch.close()
