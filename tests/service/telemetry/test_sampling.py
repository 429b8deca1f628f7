"""A flood of refusals is a few lines a second and a number; what was served has all of its lines."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from dit_serve.service.telemetry import sampling
from dit_serve.service.telemetry.sampling import MOST_LINES, RefusalSampler, Seldom


class Lines(logging.Handler):
    """Keeps the fields of all lines."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.fields.append(getattr(record, "fields", {}))


@pytest.fixture
def logger() -> logging.Logger:
    return logging.Logger("requests", logging.INFO)


@pytest.fixture
def lines(logger: logging.Logger) -> Lines:
    lines = Lines()
    logger.addHandler(lines)
    return lines


def log(logger: logging.Logger, status: int, count: int, *, was_accepted: bool = False) -> None:
    for _ in range(count):
        fields = {"event": "request", "status": status}
        logger.info("request", extra={"fields": fields, "was_accepted": was_accepted})


def test_of_each_refused_status_a_few_lines_are_written_and_the_rest_is_told(
    logger: logging.Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "PERIOD_SECONDS", 0.0)
    sampler = RefusalSampler(logger)

    async def test() -> None:
        for status, count in ((401, 1000), (422, MOST_LINES + 1), (404, MOST_LINES), (429, 10), (503, 10)):
            log(logger, status, count)
        assert [line["status"] for line in lines.fields].count(401) == MOST_LINES
        assert len(lines.fields) == 5 * MOST_LINES
        while lines.fields[-1]["event"] != "requests_refused":
            await asyncio.sleep(0)

    asyncio.run(test())
    told = lines.fields[-1]
    assert told["by_status"] == {"401": 1000 - MOST_LINES, "422": 1, "429": 10 - MOST_LINES, "503": 10 - MOST_LINES}
    assert told["more"] == sampler.left_out == sum(told["by_status"].values())


def test_the_next_period_has_lines_of_its_own(
    logger: logging.Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "PERIOD_SECONDS", 0.0)
    RefusalSampler(logger)

    async def test() -> None:
        for period in (1, 2):
            log(logger, 401, MOST_LINES + 1)
            while [line["event"] for line in lines.fields].count("requests_refused") < period:
                await asyncio.sleep(0)

    asyncio.run(test())
    assert [line["event"] for line in lines.fields].count("request") == 2 * MOST_LINES


def test_lines_of_what_was_served_or_failed_or_left_are_all_written(logger: logging.Logger, lines: Lines) -> None:
    sampler = RefusalSampler(logger)

    async def test() -> None:
        for status in (200, 499, 500, 504):
            log(logger, status, 100)
        log(logger, 503, 100, was_accepted=True)  # work that had been accepted failed
        logger.info("no request")

    asyncio.run(test())
    assert (len(lines.fields), sampler.left_out) == (501, 0)


def test_at_the_level_debug_every_line_is_written(logger: logging.Logger, lines: Lines) -> None:
    logger.setLevel(logging.DEBUG)
    sampler = RefusalSampler(logger)
    log(logger, 429, 100)
    assert (len(lines.fields), sampler.left_out) == (100, 0)


def test_what_comes_often_is_told_at_once_and_then_with_its_number() -> None:
    told: list[int] = []

    async def test() -> None:
        seldom = Seldom(told.append, 0.0)
        for _ in range(5):
            seldom()
        assert told == [1]
        while len(told) < 2:
            await asyncio.sleep(0)
        for _ in range(3):  # in which nothing comes: the next is told at once again
            await asyncio.sleep(0.0)
        while seldom._is_waiting:
            await asyncio.sleep(0)
        seldom()

    asyncio.run(test())
    assert told == [1, 4, 1]
