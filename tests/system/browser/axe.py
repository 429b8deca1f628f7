"""axe-core in a page: what keeps people from reading or using it.

Reference: WCAG 2.2, levels A and AA; https://github.com/dequelabs/axe-core for the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.service.running import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

FILE = ROOT / "build" / "system" / "axe" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async (tags) => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] });
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) =>
    `${id}: ${node.target.join(" ")}: ${node.failureSummary.replaceAll(/\\s+/g, " ")}`));
}"""


def violations(page: Page) -> list[str]:
    """Each broken rule with the place where it is broken and what would mend it."""
    if page.evaluate("typeof window.axe") == "undefined":
        page.evaluate(FILE.read_text(encoding="utf-8"))  # not as a script of the page: its policy would refuse it
    found: list[str] = page.evaluate(RUN, TAGS)
    return found
