"""Which representation a client wants, of an image or of / (RFC 9110, sections 12.5.1 and 12.5.3).

Knows the Accept headers and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dit_serve.service.errors import NotAcceptable

PNG = "image/png"
JSON = "application/json"
EVENTS = "text/event-stream"
HTML = "text/html"

_BY_NAME = 2


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range of an Accept header; exact ranges count before wide ones."""

    media_type: str
    quality: float


@lru_cache(maxsize=64)  # clients send few different headers, and each is taken apart in tens of microseconds
def choose_representation(accept: str | None, images: int, stills: tuple[str, ...] = (PNG,)) -> str:
    """An image file, JSON or a stream of events, as the client prefers; the first kind of file if it does not care.

    A stream is for who names it, and then goes before what is liked as much.

    Args:
        accept: the header, None if absent.
        images: a file holds one image only, so more of them come as JSON to who takes that too.
        stills: the kinds of files that there are.

    Raises:
        NotAcceptable: none is acceptable, or a file alone, which would have to hold several images.
    """
    ranges = _parse(accept if accept and accept.strip() else "*/*")
    kind = max(stills, key=lambda still: _quality(ranges, still))
    still, still_rank = _quality(ranges, kind)
    json, json_rank = _quality(ranges, JSON)
    events, events_rank = _quality(ranges, EVENTS)
    if events > 0 and events_rank == _BY_NAME and events >= max(json, still if images == 1 else 0.0):
        return EVENTS
    if images > 1:
        if json > 0:
            return JSON
        raise NotAcceptable(f"{images} images do not fit into one file: send Accept: {JSON} or {EVENTS}, or n = 1")
    if still == json == 0:
        raise NotAcceptable(f"an image can be had as {', '.join(stills)}, {JSON} or {EVENTS}")
    return JSON if (json, json_rank) > (still, still_rank) else kind


@lru_cache(maxsize=64)
def choose_batch_representation(accept: str | None) -> str:
    """JSON, or a stream of events for who names it and likes it no less.

    Raises:
        NotAcceptable: neither is acceptable.
    """
    ranges = _parse(accept if accept and accept.strip() else "*/*")
    json, _ = _quality(ranges, JSON)
    events, events_rank = _quality(ranges, EVENTS)
    if events > 0 and events_rank == _BY_NAME and events >= json:
        return EVENTS
    if json > 0:
        return JSON
    raise NotAcceptable(f"a batch can be had as {JSON} or {EVENTS}")


@lru_cache(maxsize=64)
def prefers_page(accept: str) -> bool:
    """Whether who asks for / is a browser, which names HTML; whoever likes JSON as much gets that."""
    ranges = _parse(accept if accept.strip() else "*/*")
    html, html_rank = _quality(ranges, HTML)
    return html > 0 and (html, html_rank) > _quality(ranges, JSON)


@lru_cache(maxsize=64)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether an answer may be compressed: if it is said, and not less liked than the answer as it is."""
    codings = {each.media_type: each.quality for each in _parse(accept_encoding)}  # they are written alike
    gzip = codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0)))
    return gzip > 0 and gzip >= codings.get("identity", 0.0)


def is_stream(accept: str | None, images: int, stills: tuple[str, ...] = (PNG,)) -> bool:
    """Whether the answer is a stream of events."""
    try:
        return choose_representation(accept, images, stills) == EVENTS
    except NotAcceptable:
        return False


def _quality(ranges: list[_Range], media_type: str) -> tuple[float, int]:
    """Quality of a type and how exactly it was named: 2 by name, 1 by "image/*", 0 by "*/*"."""
    wildcards = (media_type, media_type.split("/")[0] + "/*", "*/*")
    for rank, name in zip((_BY_NAME, 1, 0), wildcards, strict=True):
        found = [each.quality for each in ranges if each.media_type == name]
        if found:
            return max(found), rank
    return 0.0, 0


def _parse(accept: str) -> list[_Range]:
    ranges = []
    for part in accept.split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        ranges.append(_Range(media_type, _weight(parameters)))
    return ranges


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _number(value.strip())
    return 1.0


def _number(text: str) -> float:
    """A quality value; what is none counts as 0, so that a broken header gets an answer that says what is allowed."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
