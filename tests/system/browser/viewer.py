"""Somebody who uses the page: finds controls by the names that people hear; types, presses and clicks as they do."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from tests.system.browser.driver import expect
from tests.system.browser.watch import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TILE = re.compile(r", seed \d+")
DONE = re.compile(r", seed \d+.*, done$")
FAILED = re.compile(r", seed \d+.*, failed$")

DROP = """(files) => {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const target = document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true });
    const isTaken = !target.dispatchEvent(event);
    if (kind === "dragover" && !isTaken) return; // then browsers send no drop
  }
}"""
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
FOCUSABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
  window.controls = [...all].filter((each) => each.tabIndex >= 0 && !each.disabled
    && !(each.type === "radio" && !each.checked) && each.checkVisibility({ visibilityProperty: true }));
  return window.controls.length;
}"""
IS_SEEN = """() => {
  const element = document.activeElement;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  const isMarked = (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  const { x, y, width, height } = element.getBoundingClientRect();
  const places = [0.1, 0.5, 0.9].map((part) => document.elementFromPoint(x + width / 2, y + part * height));
  return isMarked
    && places.some((each) => element.contains(each) || each?.closest("label")?.contains(element));
}"""


class Viewer:
    """At one page (a tab of the browser), in a context that is watched."""

    def __init__(self, page: Page, watch: Watch) -> None:
        self.page = page
        self.watch = watch

    def another_tab(self, url: str = "") -> Viewer:
        """A second tab of the same browser; without an address at this one's."""
        page = self.page.context.new_page()
        page.goto(url or self.page.url)
        return Viewer(page, self.watch)

    # Controls

    def view(self, name: str) -> None:
        """Goes to one of the views: Make, Sweep, Compare, Gallery."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, name: str) -> Locator:
        """The control with this label that is shown now."""
        return self.page.get_by_label(name, exact=True).filter(visible=True)

    @property
    def classes(self) -> Locator:
        """The search for a class."""
        return self.page.get_by_role("combobox", name="Class", exact=True).filter(visible=True)

    @property
    def found(self) -> Locator:
        """What that search has found, as long as its list is open."""
        return self.page.get_by_role("listbox").get_by_role("option")

    @property
    def live_region(self) -> Locator:
        """What is told to screen readers."""
        return self.page.locator("[aria-live]")

    def fill(self, **values: Any) -> None:
        """Types into fields, chooses in selects; `guidance_scale=4` is the field "Guidance scale"."""
        for key, value in values.items():
            control = self.field(key[:1].upper() + key[1:].replace("_", " "))
            if control.evaluate("(element) => element.tagName") == "SELECT":
                control.select_option(str(value))
            else:
                control.fill(str(value))
                control.blur()

    def choose_class(self, query: str) -> None:
        """Takes the best that the class search finds."""
        self.classes.click()
        self.classes.fill(query)
        expect(self.found.first).to_be_visible()
        self.classes.press("Enter")
        expect(self.found).to_have_count(0)

    def keep_seed(self, seed: int) -> None:
        """Chooses the first seed."""
        self.fill(seed=seed)

    def sweep(self, x: str, x_values: str, y: str = "", y_values: str = "") -> None:
        """Says what a sweep goes over: axes by their values in the selects."""
        self.fill(X=x, Y=y)
        self.fill(X_values=x_values)
        if y:
            self.fill(Y_values=y_values)

    def add_pngs(self, files: dict[str, bytes]) -> None:
        """Chooses files in the gallery."""
        chosen = [{"name": f"{name}.png", "mimeType": "image/png", "buffer": data} for name, data in files.items()]
        self.page.get_by_label("Add PNGs").set_input_files(chosen)

    def drop(self, files: dict[str, bytes]) -> None:
        """Drags files from a folder over the middle of the page and lets them go."""
        sent = [[f"{name}.png", base64.b64encode(data).decode()] for name, data in files.items()]
        self.page.evaluate(DROP, sent)

    def make(self) -> None:
        """Presses Make."""
        self.button("Make").click()

    # Pictures

    @property
    def tiles(self) -> Locator:
        return self.page.get_by_role("button", name=TILE)

    @property
    def done(self) -> Locator:
        """Tiles whose picture is there."""
        return self.page.get_by_role("button", name=DONE)

    @property
    def failed(self) -> Locator:
        """Tiles of pictures that could not be made."""
        return self.page.get_by_role("button", name=FAILED)

    def wait_for_pictures(self, count: int) -> None:
        """Until so many are done, and there are no others."""
        expect(self.done).to_have_count(count)
        expect(self.tiles).to_have_count(count)

    def tile_bytes(self) -> list[bytes]:
        """The PNG that each tile shows now, in order."""
        shown: list[str] = self.tiles.locator("img").evaluate_all("(all) => all.map((each) => each.src)")
        return [self.blob(url) for url in shown]

    def blob(self, url: str) -> bytes:
        """What a blob: URL of this page stands for, even if it was given back."""
        return base64.b64decode(self.page.evaluate("(url) => window.watched.bytes(url)", url))

    def looks(self) -> list[dict[str, Any]]:
        """How tiles have changed: `index`, `name` and `picture` (a URL) after each change."""
        found: list[dict[str, Any]] = self.page.evaluate("window.watched.looks")
        return found

    # By keys

    def tab(self) -> None:
        """Presses Tab, and lets the page draw what comes of it."""
        self.page.keyboard.press("Tab")
        self.page.evaluate(DRAWN)

    def tab_to(self, control: Locator) -> None:
        """Presses Tab until the control has the focus; once around, and it was not reached."""
        for _ in range(self.page.locator("*").count()):
            self.tab()
            if control.evaluate("(element) => element === document.activeElement"):
                return
        raise AssertionError(f"Tab never reaches {control}")

    def tab_through(self) -> tuple[list[int], list[int]]:
        """The controls that Tab should reach, by number in the order of the document, and those that it does."""
        wanted = range(self.page.evaluate(FOCUSABLE))
        self.tab_to(self.page.locator("body"))  # which comes after the last one, and before the first
        reached = []
        for _ in wanted:
            self.tab()
            reached.append(self.page.evaluate("window.controls.indexOf(document.activeElement)"))
        return list(wanted), reached

    def unseen_when_focused(self) -> list[str]:
        """Controls that look the same with the focus as without, or lie beneath something or out of the window."""
        found = []
        self.tab_to(self.page.locator("body"))
        for _ in range(self.page.evaluate(FOCUSABLE)):
            self.tab()
            if not self.page.evaluate(IS_SEEN):
                found.append(self.page.evaluate("document.activeElement.outerHTML.slice(0, 300)"))
        return found
