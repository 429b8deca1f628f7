"""A log line is one line of JSON."""

from __future__ import annotations

import json
import logging

from service.logs import JsonFormatter


def formatted(message: str, **attributes: object) -> str:
    record = logging.LogRecord("dit.job", logging.INFO, "x.py", 1, message, None, None)
    for name, value in attributes.items():
        setattr(record, name, value)
    return JsonFormatter().format(record)


def test_a_line_has_time_level_logger_message_and_fields() -> None:
    line = json.loads(formatted("job completed", fields={"job_id": 3}))
    assert (line["level"], line["logger"], line["message"], line["job_id"]) == ("info", "dit.job", "job completed", 3)
    assert line["time"].endswith("+00:00")


def test_nothing_breaks_the_line() -> None:
    assert "\n" not in formatted("a\nb\r\n\u2028", fields={"path": "/\n{}"})


def test_an_error_keeps_its_traceback_on_the_line() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        text = formatted("unexpected", exc_info=(type(error), error, error.__traceback__))
    assert "ValueError: why" in json.loads(text)["traceback"]
    assert "\n" not in text
