"""A real server in a subprocess on a free loopback port, followed through its log; no sleeps, no polling."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0  # for a machine that is busy with other work; nothing waits for it to pass
FREE_PORTS = ("--port", "0", "--metrics-port", "0")
Line = dict[str, Any]


class Running:
    """A server process, the first of a session of its own, and every line that it has logged."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )
        self.seen: list[Line] = []
        self.port = 0
        self.worker_pid = 0
        self._waited = 0  # lines that `wait_for` has been through
        self._has_ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                line = None
            with self._news:
                self.seen.append(line if isinstance(line, dict) else {"message": text.rstrip("\n"), "is_raw": True})
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def find(self, event: str, since: int = 0) -> list[Line]:
        """The lines of an event that have come, from line number `since` on."""
        return [line for line in self.seen[since:] if line.get("event") == event]

    def wait_for(self, is_it: Callable[[Line], bool], since: int | None = None) -> Line:
        """The first line that satisfies the test, of those not yet waited for, or from line number `since` on."""
        at = self._waited if since is None else since
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while True:
                for line in self.seen[at:]:
                    at += 1
                    if is_it(line):
                        self._waited = at
                        return line
                if self._has_ended:
                    raise AssertionError(f"the server ended without the line that was waited for: {self.seen[-99:]}")
                if not self._news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"the line that is waited for did not come; the last ones: {self.seen[-9:]}")

    def wait_for_event(self, event: str, since: int | None = None) -> Line:
        return self.wait_for(lambda line: line.get("event") == event, since)

    def wait_for_events(self, *events: str) -> list[Line]:
        """One line of each, in this order, in whichever order they come."""
        found: list[Line | None] = [None] * len(events)
        while None in found:
            missing = [event for event, line in zip(events, found, strict=True) if line is None]
            line = self.wait_for(partial(_is_one_of, missing))
            found[next(i for i, event in enumerate(events) if found[i] is None and event == line["event"])] = line
        return [line for line in found if line is not None]

    def wait_until_listening(self) -> None:
        self.port = int(self.wait_for_event("listening")["port"])

    def wait_until_ready(self) -> None:
        self.worker_pid = int(self.wait_for_event("ready")["worker_pid"])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False, **options)

    def finish(self) -> int:
        """Waits for the end of the process and of all that write to its log, the worker too: the exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), "the worker lives on"
        return status

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.finish()

    def close(self) -> None:
        """Kills the process if it has not ended; what it started has to follow by itself."""
        if self.process.poll() is None:
            self.process.kill()
        self.finish()
        assert self.process.stderr is not None
        self.process.stderr.close()


def _is_one_of(events: Sequence[str], line: Line) -> bool:
    return line.get("event") in events


def fake_command(*flags: str, models: str = "fake-64,fake-128") -> list[str]:
    return [sys.executable, "-m", "tests.service.serve_fake", *FREE_PORTS, "--models", models, *flags]


def without_settings() -> dict[str, str]:
    """This process's environment without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("DIT_")}


def clean_environment() -> dict[str, str]:
    """The same, in which one thread computes."""
    return without_settings() | {"OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


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
        server.close()
