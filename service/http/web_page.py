"""The page that looks at a model: GET / for a browser, and its files under /web/.

The files are those of the folder `web` beside this module, read once: what is asked for is looked up in their exact
list, and no path of a client ever meets the file system. They hold nothing that this project does not publish, so they
need no key; what the page asks of the API does.

Knows names, bytes and HTTP's caching (RFC 9110, section 13), and nothing of what the files do.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dit_serve.service.http.negotiate import takes_gzip
from dit_serve.service.http.prefix import PER_PREFIX, prefix_of

INDEX = "index.html"
FOLDER = "/web/"
PREFIX_MARK = "{prefix}"  # in the index, before each of its links
MEDIA_TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain", ".svg": "image/svg+xml",
}  # fmt: skip

# Pictures come as blob:, and small ones of the style sheet as data:.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    **PER_PREFIX,
    "Vary": f"Accept, {PER_PREFIX['Vary']}",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Coded:
    """A file's bytes in one content coding, and their strong entity tag: each coding has its own."""

    content: bytes
    etag: str
    coding: str = ""


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file of the page, as it is and compressed.

    Args:
        media_type: of its content.
        plain: as it is.
        packed: compressed.
    """

    media_type: str
    plain: Coded
    packed: Coded

    def answer(self, request: Request) -> Response:
        """The file, in the coding that the client takes, or 304 if it has that already."""
        coded = self.packed if takes_gzip(", ".join(request.headers.getlist("accept-encoding"))) else self.plain
        headers = {"ETag": coded.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        headers["X-Content-Type-Options"] = "nosniff"
        if has_it(", ".join(request.headers.getlist("if-none-match")), coded.etag):
            return Response(status_code=304, headers=headers)
        if coded.coding:
            headers["Content-Encoding"] = coded.coding
        return Response(coded.content, media_type=self.media_type, headers=headers)


class WebPage:
    """The page and its files, as they lie in the package.

    Attributes:
        files: by path.
    """

    def __init__(self) -> None:
        contents = dict(_contents())
        self._index = contents.pop(INDEX).decode()
        self.files = {FOLDER + name: _web_file(name, content) for name, content in contents.items()}

    def index(self, request: Request) -> Response:
        """The page itself, whose links begin with the prefix under which the client sees the service."""
        prefix = prefix_of(request)
        text = self._index.replace(PREFIX_MARK, f"{prefix}/" if prefix else "")
        return Response(text, media_type=MEDIA_TYPES[".html"], headers=_PAGE_HEADERS)

    def routes(self) -> list[Route]:
        """Those of the files, for GET alone; the index is at /, which is not the page's alone."""
        return [Route(path, _endpoint(file), methods=["GET"]) for path, file in self.files.items()]


def has_it(if_none_match: str, etag: str) -> bool:
    """Whether a client says that it has what this entity tag is of (RFC 9110, section 13.1.2)."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in known or "*" in known


def _contents() -> Iterator[tuple[str, bytes]]:
    for file in sorted((files(__package__ or "") / "web").iterdir(), key=lambda file: file.name):
        if file.is_file() and PurePosixPath(file.name).suffix in MEDIA_TYPES:
            yield file.name, file.read_bytes()


def _web_file(name: str, content: bytes) -> WebFile:
    packed = gzip.compress(content, mtime=0)  # without a time, so that the same file has the same tag always
    media_type = MEDIA_TYPES[PurePosixPath(name).suffix]
    return WebFile(media_type, Coded(content, _etag(content)), Coded(packed, _etag(packed), "gzip"))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _endpoint(file: WebFile) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return file.answer(request)

    return endpoint
