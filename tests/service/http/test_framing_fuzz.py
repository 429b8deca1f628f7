"""Each connection's answers are exactly those of its requests, whatever it sends and in whatever pieces.

What the requests are is said by a model of its own (`strict`). An application that answers with what it was asked is
behind the protocol, and no socket: thousands of connections a second. FRAMING_CONNECTIONS is their number, for a long
run by hand, and FRAMING_SEED makes others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter

import pytest

from tests.service.http import framings
from tests.service.http.answers import Answer, read_answers
from tests.service.http.strict import End, read
from tests.service.http.wires import Said, Server, echo

CONNECTIONS = int(os.environ.get("FRAMING_CONNECTIONS", "4000"))
SEED = int(os.environ.get("FRAMING_SEED", "20"))
AT_ONCE = 50
REFUSALS = {400, 408, 413, 431, 505}


async def talk(server: Server, data: bytes, source: random.Random, half_closes: bool = False) -> Said:
    """What a server says to who sends this in any pieces, hastily or not."""
    is_hasty = source.random() < 0.5
    return await server.talk(
        framings.pieces(data, source), lambda: not is_hasty and source.random() < 0.3, half_closes
    )


def fault(data: bytes, said: bytes, is_ended: bool) -> str | None:
    """What is wrong with what a server said."""
    asked, end = read(data)
    answers = read_answers(said, [each.method for each in asked])
    if answers is None:  # of what nobody is sure, it is not even known whether it was a HEAD
        return None if end is End.UNSURE else "is no sequence of answers"
    echoes = [answer.echo for answer in answers if answer.status == 200]
    wanted = [echo(each) for each in asked]
    if echoes[: len(wanted)] != wanted or (len(echoes) > len(wanted) and end is not End.UNSURE):
        return f"{echoes} is not {wanted}"
    for each, answer in zip(asked, answers, strict=False):
        if each.version == b"HTTP/1.0" and b"transfer-encoding" in answer.headers:
            return "holds chunks, for HTTP/1.0"
    return fault_of_end(end, answers[len(wanted) :], is_ended)


def fault_of_end(end: End, rest: list[Answer], is_ended: bool) -> str | None:
    if any(answer.status not in REFUSALS | {200} for answer in rest):
        return f"{rest} is no refusal"
    wanted: dict[End, set[tuple[int, bool]]] = {
        End.OPEN: {(0, False)},
        End.LAST: {(0, True)},
        End.REFUSED: {(1, True)},
        End.UNFINISHED: {(0, False), (1, True)},
    }
    if end in wanted and (len(rest), is_ended) not in wanted[end]:
        return f"after the answers come {rest}, ended {is_ended}, where the bytes end {end.value}"
    return None


def test_the_answers_of_a_connection_are_those_of_its_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a long run would keep a line for each refusal
    source = random.Random(SEED)
    ends: Counter[End] = Counter()

    async def one(server: Server, data: bytes) -> None:
        _, end = read(data)
        half_closes = end not in (End.UNFINISHED, End.UNSURE) and source.random() < 0.2
        said, is_ended = await talk(server, data, source, half_closes)
        found = fault(data, said, is_ended and not (half_closes and end is End.OPEN))
        assert found is None, f"{found}\n{data!r}\n{said!r}"
        ends[end] += 1

    async def all_of_them() -> None:
        server = Server()
        for _ in range(CONNECTIONS // AT_ONCE):
            await asyncio.gather(*(one(server, framings.connection(source)) for _ in range(AT_ONCE)))

    asyncio.run(all_of_them())
    assert all(ends[end] > CONNECTIONS // 50 for end in End if end is not End.UNSURE)  # or they were not varied enough
    assert ends[End.UNSURE] < CONNECTIONS // 10


def test_the_model_finds_the_requests_that_were_made() -> None:
    source = random.Random(SEED)
    for _ in range(500):
        made = framings.requests(source)
        asked, end = read(b"".join(made))
        assert [each.values(b"x-tag") for each in asked] == [[b"%d" % number] for number in range(len(asked))]
        assert end is (End.OPEN if len(asked) == len(made) and not is_last(made[-1]) else End.LAST)


def is_last(request: bytes) -> bool:
    return b"HTTP/1.0\r\n" in request or b"close\r\n" in request


@pytest.mark.parametrize("hostile", framings.HOSTILE + framings.ENDLESS)
def test_what_is_no_request_is_refused_in_any_pieces(hostile: bytes) -> None:
    good = b"GET /1 HTTP/1.1\r\nHost: host.example\r\n\r\n"

    async def all_of_them() -> None:
        server = Server()
        for seed in range(8):
            said, is_ended = await talk(server, good + hostile + framings.BAIT, random.Random(seed))
            answers = read_answers(said, [b"GET"])
            assert answers is not None
            assert [answer.status in REFUSALS for answer in answers] == [False, True], said
            assert is_ended

    asyncio.run(all_of_them())
