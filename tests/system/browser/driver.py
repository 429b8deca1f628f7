"""Playwright, imported when it is used: whoever only collects these tests does not have it.

Nothing else here imports it but for the names of its types.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.service.running import PATIENCE_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, LocatorAssertions, Page, PageAssertions

PATIENCE_MS = 1000 * PATIENCE_SECONDS
# Tests are run as root, for whom Chromium has no sandbox. Letters are drawn the same on all machines.
FLAGS = ["--no-sandbox", "--font-render-hinting=none", "--force-color-profile=srgb"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a window."""
    from playwright.sync_api import expect, sync_playwright

    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: `make test-system` installs it"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def expect(thing: Locator) -> LocatorAssertions:
    """What is to become true of a part of the page, waited for with patience."""
    from playwright.sync_api import expect

    return expect(thing)


def expect_page(page: Page) -> PageAssertions:
    """What is to become true of a page."""
    from playwright.sync_api import expect

    return expect(page)
