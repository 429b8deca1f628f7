"""A real server in a subprocess on a free loopback port, followed through its log; no sleeps, no polling."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0  # for a machine that is busy with other work; nothing waits for it to pass
Line = dict[str, Any]


class Running:
    """A server process and the lines that it has logged."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self.seen: list[Line] = []
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""
        self.worker_pid = 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                self._lines.put(json.loads(text))
            except json.JSONDecodeError:
                self._lines.put({"message": text.rstrip("\n"), "is_raw": True})
        self._lines.put(None)

    def wait_for(self, is_it: Callable[[Line], bool]) -> Line:
        """The first line not yet waited for that satisfies the test."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            self.seen.append(line)
            if is_it(line):
                return line
        raise AssertionError(f"the server ended without the line that was waited for: {self.seen}")

    def wait_for_event(self, event: str) -> Line:
        return self.wait_for(lambda line: line.get("event") == event)

    def wait_for_events(self, *events: str) -> list[Line]:
        """One line of each, in this order, in whichever order they come."""
        found: list[Line | None] = [None] * len(events)
        while None in found:
            missing = [event for event, line in zip(events, found, strict=True) if line is None]
            line = self.wait_for(lambda line, missing=tuple(missing): line.get("event") in missing)
            found[next(i for i, event in enumerate(events) if found[i] is None and event == line["event"])] = line
        return [line for line in found if line is not None]

    def wait_until_listening(self) -> None:
        line = self.wait_for_event("listening")
        self.url = f"http://127.0.0.1:{line['port']}"

    def wait_until_ready(self) -> None:
        self.worker_pid = int(self.wait_for_event("ready")["worker_pid"])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False, **options)

    def finish(self) -> int:
        """Waits for the end of the process and of all that write to its log, the worker too: the exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), "the worker lives on"
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                self.seen.append(line)
        return status

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.finish()


def fake_command(*flags: str, models: str = "fake-64,fake-128") -> list[str]:
    return [sys.executable, "-m", "tests.service.serve_fake", "--port", "0", "--metrics-port", "0",
            "--models", models, *flags]  # fmt: skip


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the service."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("DIT_")}
    return kept | {"OMP_NUM_THREADS": "1"}


@contextmanager
def running(command: list[str], *, until_ready: bool = True, **environment: str) -> Iterator[Running]:
    """A server for the length of a with-statement; killed if the test has not ended it."""
    server = Running(command, clean_environment() | environment)
    try:
        server.wait_until_listening()
        if until_ready:
            server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.finish()
        assert server.process.stderr is not None
        server.process.stderr.close()
