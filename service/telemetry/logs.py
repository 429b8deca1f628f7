"""One JSON object per log line, on standard error, from every process. Everything goes through the standard library.

What a client sent may be in a line as a value, never as it is: everything beyond printable ASCII is escaped, so that no
text ends a line, moves a terminal's cursor or turns the writing direction.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType


class JsonFormatter(logging.Formatter):
    """Time, level, logger, process, message, and the record's `fields` if it has any; always one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str).replace("\x7f", "\\u007f")  # the one control character that json leaves


def set_up_logging(level: str) -> None:
    """Sends all that the process has to say to standard error as JSON: loggers, uvicorn's too, warnings, last words."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_last_words
    threading.excepthook = _log_thread_end
    logging.getLogger("uvicorn.access").disabled = True  # `service.http.middleware` writes the line per request
    for name in ("uvicorn", "uvicorn.error", "asyncio", "PIL"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def adopt_library_loggers() -> None:
    """Takes from libraries that have been imported the handlers they gave themselves: their lines come as ours do."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def _log_last_words(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger("dit.process").critical("the process ends", exc_info=(kind, error, traceback))


def _log_thread_end(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else "unknown"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger("dit.process").critical("thread %s ends", name, exc_info=error)
