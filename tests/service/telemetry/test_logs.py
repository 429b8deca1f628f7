"""A log line is one line of JSON, whoever writes it and whatever was sent."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dit_serve.service.telemetry.logs import JsonFormatter, adopt_library_loggers
from tests.service.fake import RAISES
from tests.service.running import ROOT, Running, fake_command, running

HOSTILE = [
    "a\nb", "\r\n{}", "\x1b[31mred\x1b[2J", "\u202eesrever", "\u2028\u2029\x85", "\x00\x7f\x9b", "\ud800", '"}\\',
]


def formatted(message: str, **attributes: object) -> str:
    record = logging.LogRecord("dit.job", logging.INFO, "x.py", 1, message, None, None)
    for name, value in attributes.items():
        setattr(record, name, value)
    return JsonFormatter().format(record)


def test_a_line_has_time_level_logger_process_message_and_fields() -> None:
    line = json.loads(formatted("job completed", fields={"job_id": 3}))
    assert (line["level"], line["logger"], line["message"], line["job_id"]) == ("info", "dit.job", "job completed", 3)
    assert line["time"].endswith("+00:00")
    assert isinstance(line["pid"], int)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_comes_out_as_it_is_beyond_printable_ascii(text: str) -> None:
    line = formatted(text, fields={"path": text, text: [text]})
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    assert (read["message"], read["path"], read[text]) == (text, text, [text])


def test_an_error_keeps_its_traceback_on_the_line() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        text = formatted("unexpected", exc_info=(type(error), error, error.__traceback__))
    assert "ValueError: why" in json.loads(text)["traceback"]
    assert "\n" not in text


def test_a_librarys_own_handlers_are_taken_from_it() -> None:
    library = logging.getLogger("a_library_with_handlers")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    adopt_library_loggers()
    assert (library.handlers, library.propagate) == ([], True)


@pytest.mark.parametrize(
    ("code", "logger"),
    [
        ("import warnings; warnings.warn('two\\nlines')", "py.warnings"),
        ("raise ValueError('two\\nlines')", "dit.process"),
        ("import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", "dit.process"),
    ],
)
def test_warnings_and_last_words_are_lines_too(code: str, logger: str) -> None:
    program = f"from dit_serve.service.telemetry.logs import set_up_logging; set_up_logging('info')\n{code}"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    [line] = ended.stderr.splitlines()
    assert json.loads(line)["logger"] == logger


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A server that has been asked for all sorts of things, and has ended."""
    with running(fake_command()) as server:
        with server.client() as client:
            ask = {"class_id": 1, "steps": 2}
            client.post("/generate", json=ask, headers={"x-request-id": "good-id"})
            client.post("/generate", json=ask | {"class_id": RAISES}, headers={"x-request-id": "bad-id"})
            client.get("/%0a%7b%22event%22:1%7d%1b%5b31m%E2%80%AE%C2%85", headers={"x-request-id": '"} forged'})
            address = client.base_url.host, client.base_url.port
        with socket.create_connection(address) as raw:
            raw.sendall(b"NONSENSE\x1b[31m\r\n\r\n")
            while raw.recv(4096):
                pass
        server.terminate()
        yield server


def lines(server: Running, event: str) -> list[dict[str, object]]:
    return [line for line in server.seen if line.get("event") == event]


def test_every_line_of_every_process_is_json(server: Running) -> None:
    assert [line for line in server.seen if "is_raw" in line] == []
    assert {line["logger"] for line in server.seen if "logger" in line} >= {"dit.request", "dit.job", "dit.engine"}


def test_an_image_is_one_line(server: Running) -> None:
    [job] = [line for line in server.seen if line.get("request_id") == "good-id"]
    assert (job["event"], job["outcome"]) == ("job_end", "completed")
    assert all(isinstance(job[f"{stage}_seconds"], float) for stage in ("queue", "denoise", "decode", "encode"))


def test_the_worker_tells_of_a_job_by_its_requests_id(server: Running) -> None:
    [failed] = lines(server, "job_failed")
    assert failed["request_id"] == "bad-id"
    assert failed["pid"] == server.worker_pid != server.process.pid


def test_a_request_that_failed_and_its_job_are_one_line_each_under_one_id(server: Running) -> None:
    [request] = [line for line in lines(server, "request") if line["request_id"] == "bad-id"]
    [job] = [line for line in lines(server, "job_end") if line["request_id"] == "bad-id"]
    assert (request["status"], request["level"], request["path"]) == (500, "warning", "/generate")
    assert job["outcome"] == "failed"


def test_what_a_client_sent_is_a_value_and_its_forged_id_is_replaced(server: Running) -> None:
    [request] = [line for line in lines(server, "request") if line["status"] == 404]
    assert request["path"] == '/\n{"event":1}\x1b[31m\u202e\x85'
    assert "forged" not in str(request["request_id"])


def test_what_is_no_request_has_a_line_too(server: Running) -> None:
    [line] = lines(server, "invalid_request")
    assert (line["logger"], line["level"], line["status"]) == ("dit.request", "warning", 400)
