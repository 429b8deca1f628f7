"""A small strict reading of RFC 9112, made apart from the server and its parser: what a connection's bytes ask for.

It reads the whole of what a client sends at once, so that it cannot depend on pieces. Where the RFC leaves a choice, it
takes ours: blank lines before a request are skipped, several spaces part the request line, all other doubt is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
_LINE = re.compile(rb"([!-~]+) +([!-~]+)(?: +(HTTP/[0-9]\.[0-9]))?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)((?:;%b(?:=(?:%b|\"[\t !#-\[\]-~]*\"))?)*)" % (_TOKEN, _TOKEN))
_HOST = re.compile(rb"[A-Za-z0-9.:-]*")


class End(Enum):
    """How a connection's bytes end."""

    OPEN = "after a whole request, or none"
    LAST = "after a whole request that is the last by its own word"
    REFUSED = "with something that is no request"
    UNFINISHED = "in the middle of a request"
    UNSURE = "with something that may be refused or not"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Those of the fields of a name."""
        return [value for each, value in self.fields if each == name]


class _Ends(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


def read(data: bytes) -> tuple[list[Asked], End]:
    """The requests up to the first that is none, and how it ends."""
    asked: list[Asked] = []
    reader = _Reader(data)
    try:
        while reader.has_more():
            request, is_last = reader.request()
            asked.append(request)
            if is_last:
                return asked, End.LAST
    except _Ends as ends:
        return asked, ends.end
    return asked, End.OPEN


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def has_more(self) -> bool:
        while self._data[self._at : self._at + 1] in (b"\r", b"\n"):
            self._at += 1
        return self._at < len(self._data)

    def request(self) -> tuple[Asked, bool]:
        method, target, version = self._request_line()
        fields = self._fields()
        chunked, length = _framing(version, fields)
        is_last = version == b"HTTP/1.0" or b"close" in _connection(fields)
        if chunked:
            body, trailers = self._chunks()
            if any(name in (b"content-length", b"transfer-encoding") for name, _ in trailers):
                raise _Ends(End.REFUSED)
            is_last = is_last or b"close" in _connection(trailers)
        else:
            body = self._take(length)
        return Asked(method, target, version, tuple(fields), body), is_last

    def _line(self) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            raise _Ends(End.UNFINISHED)
        line, self._at = self._data[self._at : end], end + 2
        if b"\r" in line or b"\n" in line:
            raise _Ends(End.REFUSED)
        return line

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        if len(taken) < size:
            raise _Ends(End.UNFINISHED)
        return taken

    def _request_line(self) -> tuple[bytes, bytes, bytes]:
        found = _LINE.fullmatch(self._line())
        if found is None or found[3] is None or found[1] not in METHODS or b"#" in found[2]:
            raise _Ends(End.REFUSED if found is None or found[1].upper() != found[1] or not found[3] else End.UNSURE)
        if found[3] not in (b"HTTP/1.0", b"HTTP/1.1"):
            raise _Ends(End.REFUSED)
        target = found[2].removeprefix(b"http://host.example")
        if not target.startswith(b"/") or (target is not found[2] and b"//" in target):
            raise _Ends(End.UNSURE)
        return found[1], target, found[3]

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields = []
        while line := self._line():
            if (found := _FIELD.fullmatch(line)) is None:
                raise _Ends(End.REFUSED)
            if found[1].lower() == b"transfer-encoding" and b"\t" in found[2]:  # a space to the RFC, not to the parser
                raise _Ends(End.UNSURE)
            fields.append((found[1].lower(), found[2].strip(b" \t")))
        return fields

    def _chunks(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        body = b""
        while True:
            line = self._line()
            if (found := _CHUNK.fullmatch(line)) is None:
                raise _Ends(End.UNSURE if b";" in line else End.REFUSED)
            size = int(found[1], 16)
            if size >= 1 << 64:
                raise _Ends(End.REFUSED)
            if size == 0:
                return body, self._fields()
            body += self._take(size)
            if self._take(2) != b"\r\n":
                raise _Ends(End.REFUSED)


def _framing(version: bytes, fields: list[tuple[bytes, bytes]]) -> tuple[bool, int]:
    """Whether the body is chunked, and its length if it is not."""
    by_name = {name: [value for each, value in fields if each == name] for name, _ in fields}
    hosts = by_name.get(b"host", [])
    codings, lengths = by_name.get(b"transfer-encoding", []), by_name.get(b"content-length", [])
    if len(hosts) > 1 or (version == b"HTTP/1.1" and not hosts):
        raise _Ends(End.REFUSED)
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _Ends(End.UNSURE)
    if codings and (lengths or version == b"HTTP/1.0" or [each.lower() for each in codings] != [b"chunked"]):
        raise _Ends(End.REFUSED)
    if lengths and (len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,19}", lengths[0])):
        raise _Ends(End.REFUSED)
    return bool(codings), int(lengths[0]) if lengths else 0


def _connection(fields: list[tuple[bytes, bytes]]) -> set[bytes]:
    lists = [value.lower().split(b",") for name, value in fields if name == b"connection"]
    options = {each.strip(b" \t") for values in lists for each in values}
    if not all(map(re.compile(_TOKEN).fullmatch, options - {b""})):
        raise _Ends(End.UNSURE)
    return options
