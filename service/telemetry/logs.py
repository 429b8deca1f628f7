"""One JSON object per log line, on standard error, from every process. Everything goes through the standard library.

What a client sent may be in a line as a value, never as it is: everything beyond printable ASCII is escaped, so that no
text ends a line, moves a terminal's cursor or turns the writing direction.

Who logs never waits for who reads: lines go through a bounded queue to a thread that writes them. A line that finds the
queue full, because nobody reads, or cannot be written, because the disk is full or the reader gone, is left out and
counted; the first one after such a gap says how many are missing. Not covered is what reaches the descriptor past
`logging`: a library's own C code, and the interpreter's last words in a crash.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import sys
import threading
from datetime import UTC, datetime
from logging.handlers import QueueHandler
from types import TracebackType

MOST_WAITING = 4096  # lines, about a megabyte: what a busy second says, tracebacks included
LAST_SECONDS = 1.0  # that a process waits at its end for its last lines to be written


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


class LineWriter(QueueHandler):
    """Makes a line of each record where it is logged, and leaves the writing to a thread.

    Args:
        descriptor: what is written to.
        most_waiting: lines that may wait to be written.

    Attributes:
        dropped: records that were not written.
    """

    queue: queue.Queue[logging.LogRecord]

    def __init__(self, descriptor: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(queue.Queue(most_waiting))
        self.setFormatter(JsonFormatter())
        self.dropped = 0
        self._untold = 0  # of those dropped, how many no line has told of
        self._counting = threading.Lock()
        self._descriptor = descriptor
        self._is_given_up = False
        # Not a `QueueListener`: it writes under a handler's lock, which `logging` waits for when the interpreter ends.
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Puts a line into the queue, or drops it; after a drop all are dropped until half of the queue is free."""
        try:
            if self._untold:
                if self.queue.qsize() > self.queue.maxsize // 2:
                    raise queue.Full  # else a slow reader would get lines about gaps alone
                self._tell_of_gap()
            self.queue.put_nowait(record)
        except queue.Full:
            self._drop(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Tells of a record that is no line, where the standard way would print, and wait for who reads."""
        error = type(sys.exc_info()[1]).__name__
        self.enqueue(self._own_line(f"a record of {record.name} cannot be formatted: {error}"))

    def close(self) -> None:
        """Waits for the last lines, LAST_SECONDS at most; if they are stuck, what is said after them goes nowhere."""
        if not self._is_given_up:
            if self._untold and not self.queue.full():
                self._tell_of_gap()
            with self.queue.all_tasks_done:
                are_out = self.queue.all_tasks_done.wait_for(lambda: not self.queue.unfinished_tasks, LAST_SECONDS)
            if not are_out:  # nor could the command line's last sentence be written: it would hold the exit
                self._is_given_up = True
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)
                os.close(nowhere)
        super().close()

    def _tell_of_gap(self) -> None:
        with self._counting:
            count, self._untold = self._untold, 0
        line = self._own_line(f"lines missing here: {count}; nobody read them, or they could not be written", count)
        try:
            self.queue.put_nowait(line)
        except queue.Full:
            self._drop(line)

    def _own_line(self, message: str, missing: int = 0) -> logging.LogRecord:
        values = {"msg": message, "name": "dit.log", "levelno": logging.WARNING, "levelname": "WARNING"}
        fields = {"event": "log_dropped", "dropped": missing} if missing else {}
        record: logging.LogRecord = self.prepare(logging.makeLogRecord(values | {"fields": fields, "missing": missing}))
        return record

    def _drop(self, record: logging.LogRecord) -> None:
        missing = getattr(record, "missing", 0)  # of a line about a gap, which is told again
        with self._counting:
            self._untold += missing or 1
            self.dropped += 0 if missing else 1

    def _write_lines(self) -> None:
        before = b""
        while True:
            record = self.queue.get()
            line = before + record.getMessage().encode("ascii") + b"\n"
            written = _write(self._descriptor, line)
            if written == len(line):
                before = b""
            else:
                before = b"\n" if written else before  # a torn line is ended before the next one
                self._drop(record)
            self.queue.task_done()


def _write(descriptor: int, line: bytes) -> int:
    """Writes a line, however long that takes: how many bytes went out before an error, or all.

    Past Python's own buffers: their locks, held by a write that does not end, would hold the exit too.
    """
    written = 0
    while written < len(line):
        try:
            written += os.write(descriptor, line[written:])
        except BlockingIOError:  # another process that shares the terminal or the pipe has made it so
            select.select([], [descriptor], [])
        except OSError:
            break
    return written


def set_up_logging(level: str) -> LineWriter:
    """Sends all that the process has to say to standard error as JSON: loggers, uvicorn's too, warnings, last words.

    Its `close` is called at the latest by `logging` itself when the interpreter ends.
    """
    # A process whose standard error is closed may have anything else at that number.
    descriptor = os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno()
    writer = LineWriter(descriptor)
    logging.basicConfig(level=level.upper(), handlers=[writer], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_last_words
    threading.excepthook = _log_thread_end
    logging.getLogger("uvicorn.access").disabled = True  # `service.http.middleware` writes the line per request
    for name in ("uvicorn", "uvicorn.error", "asyncio", "PIL"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    return writer


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
