"""Time and size limits of a connection, on raw sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

POST = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty_server() -> Iterator[Running]:
    with running(fake_command("--header-seconds", "0.2", "--body-seconds", "0.2")) as server:
        yield server


def talk(server: Running, *pieces: bytes) -> bytes:
    """Everything that the server says until it closes the connection."""
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
        return received


def test_a_silent_connection_is_closed(hasty_server: Running) -> None:
    assert talk(hasty_server) == b""


@pytest.mark.parametrize("start", [b"G", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"GET /livez HTTP/1.1\r\nX-Long: aaa"])
def test_unfinished_headers_are_answered_408_and_closed(hasty_server: Running, start: bytes) -> None:
    assert talk(hasty_server, start).startswith(b"HTTP/1.1 408 ")


def test_blank_lines_do_not_keep_a_connection(hasty_server: Running) -> None:
    assert b"200" not in talk(hasty_server, b"\r\n")


def test_an_unfinished_body_is_answered_408_and_closed(hasty_server: Running) -> None:
    assert talk(hasty_server, POST + b"Content-Length: 20\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


def test_an_unfinished_chunked_body_is_answered_408_and_closed(hasty_server: Running) -> None:
    answer = talk(hasty_server, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_the_second_request_of_a_connection_has_its_own_time(hasty_server: Running) -> None:
    answer = talk(hasty_server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /livez HTTP/1.1\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


def test_a_request_that_takes_long_to_serve_is_not_cut(hasty_server: Running) -> None:
    body = b'{"class_id": 92, "steps": 30}'  # 0.6 seconds of steps
    answer = talk(hasty_server, POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_one_endless_header_is_431(fake_server: Running) -> None:
    assert talk_until_refused(fake_server, b"GET /livez HTTP/1.1\r\nX-Long: ", b"a" * 1024).startswith(b"HTTP/1.1 431 ")


def test_endlessly_many_headers_are_431(fake_server: Running) -> None:
    assert talk_until_refused(fake_server, b"GET /livez HTTP/1.1\r\n", b"X: y\r\n" * 100).startswith(b"HTTP/1.1 431 ")


def test_an_endless_target_is_431(fake_server: Running) -> None:
    assert talk_until_refused(fake_server, b"GET /", b"a" * 1024).startswith(b"HTTP/1.1 431 ")


def talk_until_refused(server: Running, start: bytes, more: bytes) -> bytes:
    """What the server says to who sends without end; a reset after the answer is part of being refused."""
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.sendall(start + more * ((33 << 10) // len(more) + 1))
        return connection.recv(1 << 16)


def test_headers_at_a_quarter_of_the_limit_pass(fake_server: Running) -> None:
    headers = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: %s\r\n\r\n" % (b"a" * 8192)
    assert talk(fake_server, headers).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_400(fake_server: Running, request_bytes: bytes) -> None:
    answer = talk(fake_server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def test_many_tiny_chunks_are_413(fake_server: Running) -> None:
    chunks = b"1\r\n \r\n" * 16385 + b"0\r\n\r\n"
    answer = talk(fake_server, POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_an_upgrade_that_is_not_offered_is_answered_as_a_plain_request(fake_server: Running) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert talk(fake_server, request).startswith(b"HTTP/1.1 200 ")
