"""What must hold of a request's head beyond what the parser sees to, so that nobody takes its end for another place.

The parser (llhttp) is strict about line ends, names, values, `Content-Length` and chunks. It does not ask for a Host,
takes several versions, codings of the body that nobody here decodes, and targets with a fragment. An offer to change
the protocol (`Upgrade`) ends its parsing: it takes the body for words of that protocol. RFC 9110 (7.8) lets a server
ignore the offer, so such a head is parsed a second time without it (`head_again`).

Knows no connection and no application. References: RFC 9112, sections 2.3, 3.2 and 6; RFC 9110, section 7.8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from dit_serve.service.errors import BodyTooLarge, Problem, TooManyConnections

Header = tuple[bytes, bytes]

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_SPACE = b" \t"
_NAMED: dict[int, type[Problem]] = {kind.status: kind for kind in (BodyTooLarge, TooManyConnections)}
_OFFERS = (b"upgrade", b"http2-settings")


def fault_of(version: str, method: bytes, target: bytes, headers: Sequence[Header]) -> HTTPStatus | None:
    """The status that a head is refused with; None if nothing is wrong with it.

    Args:
        version: of HTTP, such as "1.1".
        method: as the parser knows it.
        target: as it was sent.
        headers: their names in lower case.
    """
    if version not in ("1.0", "1.1"):
        return HTTPStatus.BAD_REQUEST if version == "0.9" else HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    hosts, lengths, codings = (_values(headers, name) for name in (b"host", b"content-length", b"transfer-encoding"))
    is_sound = (
        method != b"CONNECT"
        and b"#" not in target
        and len(hosts) <= 1 <= len(hosts) + (version == "1.0")
        and all(map(_HOST.fullmatch, hosts))
        and len(lengths + codings) <= 1
        and all(map(_LENGTH.fullmatch, lengths))
        and (not codings or (version == "1.1" and codings[0].lower() == b"chunked"))
    )
    return None if is_sound else HTTPStatus.BAD_REQUEST


def _values(headers: Sequence[Header], name: bytes) -> list[bytes]:
    return [value.strip(_SPACE) for each, value in headers if each == name]


def without_offer(headers: Sequence[Header]) -> list[Header]:
    """The headers without an offer to change the protocol."""
    return [header for header in headers if header[0] not in _OFFERS]


def head_again(version: str, method: bytes, headers: Sequence[Header]) -> bytes:
    """A head after which the parser reads the same body as after the one that had these headers."""
    lines = (b"%s: %s\r\n" % header for header in without_offer(headers))
    return b"%s / HTTP/%s\r\n%s\r\n" % (method, version.encode("ascii"), b"".join(lines))


def refusal(status: HTTPStatus) -> bytes:
    """A whole answer for a request that no application sees, after which the connection is closed."""
    slug, title = status.phrase.lower().replace(" ", "-"), status.phrase
    if status in _NAMED:  # as the application says it
        slug, title = _NAMED[status].slug, _NAMED[status].title
    again = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = f'{{"message": "{title}", "type": "{kind}", "param": null, "code": "{slug.replace("-", "_")}"}}'
    body = f'{{"type": "urn:dit-serve:problem:{slug}", "title": "{title}", "status": {status.value}, "error": {error}}}'
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{again}connection: close\r\n\r\n{body}"
    ).encode("ascii")
