"""Time and size limits of a connection, on raw sockets."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

POST = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty_server() -> Iterator[Running]:
    with running(fake_command("--header-seconds", "0.2", "--body-seconds", "0.2", "--write-seconds", "0.3")) as server:
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


@contextmanager
def deaf_client(server: Running, request: bytes) -> Iterator[select.poll]:
    """A client that sends and never reads; what is yielded waits for the end of the connection alone."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        connection.sendall(request)
        poll = select.poll()
        poll.register(connection, select.POLLHUP)
        yield poll


def test_who_never_reads_many_answers_is_cut_off(hasty_server: Running) -> None:
    with deaf_client(hasty_server, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500) as poll:
        assert poll.poll(1e3 * PATIENCE_SECONDS)


def test_who_reads_after_a_while_gets_everything(fake_server: Running) -> None:
    body = b'{"class_id": 1, "steps": 1, "n": 16}'
    head = POST + b"Connection: close\r\nX-Request-Id: read-late\r\nContent-Length: %d\r\n\r\n" % len(body)
    port = int(fake_server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.sendall(head + body)
        for _ in range(16):
            fake_server.wait_for(lambda line: line.get("event") == "job_end" and line["request_id"] == "read-late")
        received = b""
        while data := connection.recv(1 << 12):
            received += data
    assert received.count(b'"b64_png"') == 16


def test_slow_clients_are_all_cut_off_and_hold_up_nobody() -> None:
    starts = [b"", b"GET /livez HTTP/1.1\r\nX-Long: a", POST + b"Content-Length: 20\r\n\r\n{"]
    with running(fake_command("--header-seconds", "2", "--body-seconds", "2")) as server, ExitStack() as stack:
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        slow = [stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(300)]
        for k, connection in enumerate(slow):
            connection.sendall(starts[k % len(starts)])
        with server.client() as client:
            for _ in range(50):
                assert client.get("/livez").status_code == 200
        for connection in slow:
            while connection.recv(1 << 12):
                pass
        assert server.terminate() == 0
        (tally,) = [line for line in server.seen if line.get("event") == "tally"]
        assert (tally["completed"], tally["invalid"], tally["under_way"]) == (50, 200, 0)


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
