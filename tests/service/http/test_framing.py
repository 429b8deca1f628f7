"""What a head must be, and how one with an offer to change the protocol is read."""

from __future__ import annotations

from http import HTTPStatus

import httptools
import pytest

from dit_serve.service.http.framing import Header, fault_of, head_again, refusal, without_offer

HOST = (b"host", b"x")
CHUNKED = (b"transfer-encoding", b"chunked")
LENGTH = (b"content-length", b"5")
OFFER = [(b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAAQAAP__")]


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [(b"host", b"[::1]:8000")]),
        ("1.1", [(b"host", b"")]),
        ("1.1", [HOST, LENGTH]),
        ("1.1", [HOST, (b"content-length", b"\t005 ")]),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked\t")]),
        ("1.0", []),
        ("1.0", [HOST, LENGTH]),
    ],
)
def test_a_sound_head_has_no_fault(version: str, headers: list[Header]) -> None:
    assert fault_of(version, b"POST", b"/", headers) is None


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("0.9", [HOST]),
        ("1.1", []),
        ("1.1", [HOST, HOST]),
        ("1.0", [HOST, HOST]),
        ("1.1", [(b"host", b"a b")]),
        ("1.1", [(b"host", b"a/b")]),
        ("1.1", [HOST, LENGTH, LENGTH]),
        ("1.1", [HOST, LENGTH, CHUNKED]),
        ("1.1", [HOST, CHUNKED, CHUNKED]),
        ("1.0", [HOST, CHUNKED]),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")]),
        ("1.1", [HOST, (b"content-length", b"0" * 5000)]),
    ],
)
def test_a_head_that_others_may_read_in_another_way_is_400(version: str, headers: list[Header]) -> None:
    assert fault_of(version, b"POST", b"/", headers) is HTTPStatus.BAD_REQUEST


def test_a_tunnel_and_a_fragment_are_400_and_a_later_version_is_505() -> None:
    assert fault_of("1.1", b"CONNECT", b"x:80", [HOST]) is HTTPStatus.BAD_REQUEST
    assert fault_of("1.1", b"GET", b"/livez#/v1", [HOST]) is HTTPStatus.BAD_REQUEST
    assert fault_of("2.0", b"GET", b"/", [HOST]) is HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


class Heard:
    """What a parser says."""

    def __init__(self) -> None:
        self.body = b""
        self.wholes = 0

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.wholes += 1


@pytest.mark.parametrize(
    ("framing", "sent"),
    [(LENGTH, b"12345"), (CHUNKED, b"2\r\n12\r\n3\r\n345\r\n0\r\nX: y\r\n\r\n")],
    ids=["length", "chunks"],
)
def test_the_body_after_an_offer_is_read_as_if_it_had_not_been_made(framing: Header, sent: bytes) -> None:
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    parser.feed_data(head_again("1.1", b"POST", [HOST, *OFFER, framing]) + sent)
    assert (heard.body, heard.wholes) == (b"12345", 1)


def test_the_parser_takes_what_follows_an_offer_for_another_protocol() -> None:
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    head = b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as raised:
        parser.feed_data(head + b"12345")
    assert raised.value.args == (len(head),)
    assert (heard.body, heard.wholes) == (b"", 1)


def test_an_offer_is_taken_out_whole() -> None:
    assert without_offer([HOST, *OFFER, LENGTH]) == [HOST, OFFER[0], LENGTH]


def test_a_refusal_is_a_problem_document_and_ends_the_connection() -> None:
    head, _, body = refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close" in head
    assert b"urn:dit-serve:problem:body-too-large" in body


def test_a_refusal_for_want_of_room_says_when_to_come_back() -> None:
    said = refusal(HTTPStatus.SERVICE_UNAVAILABLE)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\nconnection: close\r\n" in said
    assert b"urn:dit-serve:problem:too-many-connections" in said
