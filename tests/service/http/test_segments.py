"""A request gets one answer, however its bytes come: whole, in two segments with the cut anywhere, or byte by byte.

The protocol is behind no socket here, and before the guard of keys, so that what a cut does to keys is seen too. One
thing may differ: a refusal that is given before the body has come is the last answer of its connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest

from dit_serve.service.http.auth import KeyGuard, digest_of
from dit_serve.service.http.middleware import RequestMiddleware
from dit_serve.service.telemetry.tally import Tally
from tests.service.http import framings
from tests.service.http.answers import read_answers
from tests.service.http.strict import read
from tests.service.http.wires import Server, answer_with_echo

KEY = b"X-API-Key: one-valid-key\r\n"
HEAD = b"/%b HTTP/1.1\r\nHost: host.example\r\n"
POST = b"POST " + HEAD % b"generate"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
JSON = b"Content-Type: application/json\r\n"
AT_ONCE = 50
LONG = 400  # bytes: beyond them the cuts are fewer
KINDS = {
    "a probe": b"GET " + HEAD % b"livez" + b"\r\n",
    "no key": b"GET " + HEAD % b"v1/models" + b"\r\n",
    "a key": b"GET " + HEAD % b"v1/models" + KEY + b"\r\n",
    "another key": b"GET " + HEAD % b"v1/models" + b"Authorization: Bearer another\r\n\r\n",
    "two keys": b"GET " + HEAD % b"v1/models" + KEY + b"Authorization: Bearer another\r\n\r\n",
    "HEAD": b"HEAD " + HEAD % b"v1/models" + KEY + b"\r\n",
    "a body": POST + KEY + JSON + b"Content-Length: 7\r\n\r\n{\"a\":1}",
    "a body without a key": POST + JSON + b"Content-Length: 7\r\n\r\n{\"a\":1}",
    "another charset": POST + KEY + b"Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}",
    "Expect": POST + KEY + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "Expect without a key": POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": POST + KEY + CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "extensions": POST + KEY + CHUNKED + b'2;a;b=c;d="e f"\r\n{}\r\n0;g=h\r\n\r\n',
    "a key in trailers": POST + CHUNKED + b"2\r\n{}\r\n0\r\n" + JSON + KEY + b"\r\n",
    "a key, and another in trailers": POST + KEY + CHUNKED + b"2\r\n{}\r\n0\r\nX-API-Key: other\r\n\r\n",
    "the end in trailers": POST + KEY + CHUNKED + b"0\r\nConnection: close\r\n\r\n",
    "absolute form": b"GET http://host.example/v1/models HTTP/1.1\r\nHost: host.example\r\n" + KEY + b"\r\n",
    "HTTP/1.0": b"GET /v1/models HTTP/1.0\r\n" + KEY + b"\r\n",
    "HTTP/1.0 with a body": b"POST /generate HTTP/1.0\r\n" + KEY + b"Content-Length: 2\r\n\r\n{}",
    "HTTP/2.0": b"GET " + HEAD.replace(b"1.1", b"2.0") % b"livez" + b"\r\n",
    "an offer": b"GET " + HEAD % b"livez" + framings.OFFERS[0] + b"\r\n",
    "an offer with a body": POST + KEY + framings.OFFERS[1] + b"Content-Length: 2\r\n\r\n{}",
    "the last": b"GET " + HEAD % b"livez" + b"Connection: close\r\n\r\n" + framings.BAIT,
    "blank lines": b"\r\n\r\nGET " + HEAD % b"livez" + b"\r\n",
    "several": b"GET " + HEAD % b"livez" + b"\r\n" + POST + KEY + b"Content-Length: 2\r\n\r\n{}" + framings.BAIT,
    "several, one refused": b"GET " + HEAD % b"livez" + b"\r\n" + POST + b"Content-Length: +2\r\n\r\n{}" + b"GET /",
}
EARLY = {"a body without a key", "Expect without a key", "a key in trailers"}  # the last, if answered before its body


def cuts(sent: bytes) -> Iterator[Sequence[bytes]]:
    """The ways in which it may come, beside whole."""
    yield [sent[at : at + 1] for at in range(len(sent))] if len(sent) <= LONG else [sent[:LONG], sent[LONG:]]
    step = 1 + len(sent) // LONG * 97
    yield from ([sent[:at], sent[at:]] for at in range(1, len(sent), step))


def batched(ways: Iterator[Sequence[bytes]], size: int) -> Iterator[list[Sequence[bytes]]]:
    """So many at a time: what waits for its turn is begun within the rounds that a client waits."""
    while some := list(islice(ways, size)):
        yield some


def guarded() -> Server:
    """With a key, and answers that say what was asked."""
    guard = KeyGuard(answer_with_echo, frozenset({digest_of(b"one-valid-key")}), frozenset({"/livez"}))
    return Server(RequestMiddleware(guard, Tally()))


def test_an_answer_does_not_depend_on_how_the_request_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    source = random.Random(5)
    made = [b"".join(framings.requests(source))[:LONG] for _ in range(12)]

    async def answered(here: Server, sent: bytes, pieces: Sequence[bytes]) -> tuple[object, bool]:
        said, is_ended = await here.talk(pieces, lambda: True)
        answers = read_answers(said, [each.method for each in read(sent)[0]])
        assert answers is not None, said
        return [(answer.status, answer.echo) for answer in answers], is_ended

    async def check(here: Server, sent: bytes, *, is_early: bool = False) -> None:
        whole, is_ended = await answered(here, sent, [sent])
        for some in batched(cuts(sent), AT_ONCE):
            for said, ends in await asyncio.gather(*(answered(here, sent, pieces) for pieces in some)):
                assert said == whole, (sent, said, whole)
                assert ends is is_ended or is_early, (sent, whole)

    async def all_of_them() -> None:
        with_keys, without = guarded(), Server()
        for name, sent in KINDS.items():
            await check(with_keys, sent, is_early=name in EARLY)
        for sent in (*framings.HOSTILE, *made):
            await check(without, sent)

    asyncio.run(all_of_them())


@pytest.mark.parametrize(("name", "status"), [
    ("a probe", 200), ("no key", 401), ("a key", 200), ("two keys", 401), ("a key in trailers", 401),
    ("a key, and another in trailers", 200), ("HTTP/2.0", 505), ("Expect without a key", 401), ("HTTP/1.0", 200),
])
def test_the_answers_that_are_compared_are_those_that_are_due(name: str, status: int) -> None:
    async def test() -> None:
        said, _ = await guarded().talk([KINDS[name]], lambda: True)
        assert said.startswith(b"HTTP/1.1 %d " % status)

    asyncio.run(test())
