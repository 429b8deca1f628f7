"""Reads what a server says on one connection, as a strict client would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z -]*\r\n((?:[a-z0-9-]+: [^\r\n]*\r\n)*)\r\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `echo` is what a header of that name says, which the body must repeat."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def echo(self) -> bytes:
        """What the application says that it was asked."""
        return self.headers.get(b"x-echo", b"")


def read_answers(said: bytes, methods: Sequence[bytes]) -> list[Answer] | None:
    """The answers to requests of these methods, and those after them; None if there is anything else."""
    answers: list[Answer] = []
    while said:
        if (head := _HEAD.match(said)) is None:
            return None
        said = said[head.end() :]
        if (status := int(head[1])) == 100:
            continue
        headers = dict(line.split(b": ", 1) for line in head[2].splitlines())
        is_bodiless = len(answers) < len(methods) and methods[len(answers)] == b"HEAD"
        taken = (b"", said) if is_bodiless else _body(headers, said)
        if taken is None:
            return None
        answers.append(Answer(status, headers, taken[0]))
        said = taken[1]
    return answers


def _body(headers: dict[bytes, bytes], said: bytes) -> tuple[bytes, bytes] | None:
    """The body and what follows it."""
    if b"content-length" in headers:
        size = int(headers[b"content-length"])
        return (said[:size], said[size:]) if len(said) >= size else None
    if b"transfer-encoding" not in headers:
        return (said, b"") if headers.get(b"connection") == b"close" else None
    body = b""
    while (chunk := re.match(rb"([0-9a-f]+)\r\n", said)) is not None:
        size, start = int(chunk[1], 16), chunk.end()
        body, said = body + said[start : start + size], said[start + size + 2 :]
        if size == 0:
            return body, said
    return None
