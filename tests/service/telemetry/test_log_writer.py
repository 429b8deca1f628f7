"""Who logs never waits for who reads: real pipes that nobody reads, that are closed, and a disk that is full."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dit_serve.service.telemetry import logs
from dit_serve.service.telemetry.logs import LineWriter
from tests.service.running import PATIENCE_SECONDS, ROOT, clean_environment, fake_command

LONG = "x" * 6000  # more than the smallest pipe holds
SET_UP = "from dit_serve.service.telemetry.logs import set_up_logging; writer = set_up_logging('info')\n"


class Pipe:
    """A pipe of the least size, and what came out of it once it was read."""

    def __init__(self) -> None:
        self.output, self.input = os.pipe()
        fcntl.fcntl(self.input, fcntl.F_SETPIPE_SZ, 4096)
        self._lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)

    def start_to_read(self) -> None:
        self._reader.start()

    def _read(self) -> None:
        with os.fdopen(self.output, "rb") as stream:
            self._lines = [json.loads(line) for line in stream]

    def lines(self) -> list[dict[str, Any]]:
        """All that was written up to now; nothing may be written after."""
        os.close(self.input)
        self._reader.join()
        return self._lines


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of nobody else; a test gives it its writer."""
    logger = logging.Logger("dit.test")
    yield logger
    logger.handlers.clear()


def attached(logger: logging.Logger, descriptor: int, most_waiting: int = 4096) -> LineWriter:
    writer = LineWriter(descriptor, most_waiting)
    logger.addHandler(writer)
    return writer


def test_lines_come_in_order_and_all_are_out_at_the_end(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input)
    pipe.start_to_read()
    for number in range(200):
        logger.info("line %d", number)
    writer.close()
    assert [line["message"] for line in pipe.lines()] == [f"line {number}" for number in range(200)]


def test_a_line_says_what_was_so_when_it_was_logged(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input)
    changing = ["before"]
    logger.info(LONG, extra={"fields": {"of": changing}})  # fills the pipe
    logger.info("of %s", changing, extra={"fields": {"of": changing}})
    changing[0] = "after"
    pipe.start_to_read()
    writer.close()
    last = pipe.lines()[-1]
    assert (last["message"], last["of"]) == ("of ['before']", ["before"])


def test_an_error_keeps_its_traceback(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input)
    pipe.start_to_read()
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("it failed")
    writer.close()
    assert "ValueError: why" in pipe.lines()[0]["traceback"]


def test_what_finds_no_room_is_counted_and_told_once_in_its_place(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input, most_waiting=8)
    for _ in range(100):
        logger.info(LONG)
    dropped = writer.dropped
    assert 0 < dropped < 100
    pipe.start_to_read()
    writer.queue.join()
    logger.info("after")
    writer.close()
    *long, gap, after = pipe.lines()
    assert len(long) == 100 - dropped
    assert (gap["event"], gap["dropped"], gap["level"]) == ("log_dropped", dropped, "warning")
    assert after["message"] == "after"
    assert writer.dropped == dropped


def test_a_gap_at_the_end_is_told_too(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input, most_waiting=8)
    for _ in range(100):
        logger.info(LONG)
    pipe.start_to_read()
    writer.queue.join()
    writer.close()
    assert pipe.lines()[-1]["dropped"] == writer.dropped


def test_an_end_does_not_wait_for_a_reader_and_what_follows_goes_nowhere(
    pipe: Pipe, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LAST_SECONDS", 0.01)
    writer = attached(logger, pipe.input)
    logger.info(LONG)
    writer.close()
    writer.close()
    assert os.fstat(pipe.input).st_rdev == os.stat(os.devnull).st_rdev
    os.close(pipe.output)  # the write that did not end ends now
    writer.queue.join()


def test_lines_that_cannot_be_written_are_counted_and_told_when_one_can(
    pipe: Pipe, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    broken, descriptor = os.pipe()
    os.close(broken)
    writer = attached(logger, descriptor)
    for _ in range(3):
        logger.info("to nobody")
        writer.queue.join()
    assert writer.dropped == 3
    os.dup2(pipe.input, descriptor)
    pipe.start_to_read()
    logger.info("to somebody")
    writer.close()
    os.close(descriptor)
    gap, line = pipe.lines()
    assert (gap["dropped"], line["message"]) == (3, "to somebody")
    assert capfd.readouterr() == ("", "")


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: Pipe, logger: logging.Logger) -> None:
    os.set_blocking(pipe.input, False)
    writer = attached(logger, pipe.input)
    for _ in range(20):
        logger.info(LONG)
    pipe.start_to_read()
    writer.close()
    assert [line["message"] for line in pipe.lines()] == 20 * [LONG]


def test_a_record_that_cannot_be_formatted_is_a_line_that_says_so(pipe: Pipe, logger: logging.Logger) -> None:
    writer = attached(logger, pipe.input)
    pipe.start_to_read()
    logger.info("%d", "no number")
    writer.close()
    [line] = pipe.lines()
    assert line["message"] == "a record of dit.test cannot be formatted: TypeError"


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_full_disk_or_no_standard_error_at_all_is_no_reason_to_fail(redirection: str) -> None:
    program = SET_UP + "import logging\nfor _ in range(999): logging.info('x')\nprint('done')"
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", program]
    ended = subprocess.run(shell, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (ended.returncode, ended.stdout) == (0, "done\n")


def test_a_line_that_the_disk_took_in_part_is_ended_before_the_next(tmp_path: Path) -> None:
    program = SET_UP + (
        "import logging, resource\n_, most = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40, most))\nlogging.info('torn')\nwriter.queue.join()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\nlogging.info('whole')"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=log, check=True, timeout=PATIENCE_SECONDS)
    torn, gap, whole = (tmp_path / "log").read_text().splitlines()
    assert len(torn) == 40
    assert (json.loads(gap)["dropped"], json.loads(whole)["message"]) == (1, "whole")


@pytest.mark.parametrize("is_closed", [False, True], ids=["unread", "closed"])
def test_a_server_whose_log_nobody_reads_answers_and_ends_in_good_order(is_closed: bool) -> None:
    command = fake_command("--log-level", "debug")
    server = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE)
    assert server.stderr is not None
    try:
        port = next(line["port"] for line in map(json.loads, server.stderr) if line.get("event") == "listening")
        next(line for line in map(json.loads, server.stderr) if line.get("event") == "ready")
        if is_closed:
            server.stderr.close()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, trust_env=False) as client:
            for _ in range(100):  # 600 kB of log
                assert client.get(f"/{LONG}").status_code == 404
            assert client.post("/generate", json={"class_id": 1, "steps": 2}).status_code == 200
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0
        if not is_closed:
            server.stderr.read()  # to its end, which comes when no process holds it any more
    finally:
        server.kill()
        server.wait()
        server.stderr.close()
