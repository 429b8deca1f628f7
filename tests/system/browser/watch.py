"""What the pages of one browser context did, from the first request on, and the judgement that none of it is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

SCRIPT = (Path(__file__).parent / "watch.js").read_text(encoding="utf-8")
OWN_SCHEMES = ("blob:", "data:")
PNG_MARKS = (b"\x89PNG", b"iVBORw0KGgo")  # as bytes, and in base64


class Watch:
    """Listens to a context; one for each context.

    Args:
        context: without pages as yet.
        origin: the only one that may be asked.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.requests: list[Request] = []
        self._context = context
        self._origin = origin
        self._faults: list[str] = []
        self._expected: list[str] = []
        context.expose_binding("reportViolation", lambda _source, text: self._faults.append(f"policy: {text}"))
        context.add_init_script(script=SCRIPT)
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)

    def expect_fault(self, pattern: str) -> None:
        """Of what is judged at the end, lines with this pattern are no fault, and at least one has to be there."""
        self._expected.append(pattern)

    def posts(self, path: str) -> list[Request]:
        """The requests that were posted to a path of ours, in order."""
        return [each for each in self.requests if each.method == "POST" and each.url == self._origin + path]

    def judge(self) -> None:
        """Nothing foreign was asked and no picture sent; the console, the scripts and the policy had nothing to say."""
        for page in self._context.pages:
            page.evaluate("0")  # what the browser has told by now is heard before its answer
        wanted = [pattern for pattern in self._expected if not any(re.search(pattern, each) for each in self._faults)]
        assert not wanted, f"{wanted} was expected, and not seen among {self._faults}"
        left = [each for each in self._faults if not any(re.search(pattern, each) for pattern in self._expected)]
        assert not left, "\n".join(left)

    def close(self) -> None:
        """Closes the context with its pages."""
        self._context.close()

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith((f"{self._origin}/", *OWN_SCHEMES)):
            self._faults.append(f"foreign: {request.url}")
        body = request.post_data_buffer or b""
        if any(mark in body for mark in PNG_MARKS):
            self._faults.append(f"a picture was sent: {request.method} {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._faults.append(f"console: {message.type}: {message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: WebError) -> None:
        self._faults.append(f"error: {error.error}")
