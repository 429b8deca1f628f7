"""Which signals end the service, and how they do while it is still being imported."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dit_serve.service.http.signals import ending_signals
from tests.service.running import PATIENCE_SECONDS, ROOT, clean_environment

SENDS_ITSELF_A_SIGNAL_WHILE_IT_IMPORTS = """
import os, signal, sys
from dit_serve.service import cli

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "dit_serve.service.commands.{command}":
            os.kill(os.getpid(), signal.{signal})

sys.meta_path.insert(0, Finder())
sys.exit(cli.main(["{command}"]))
"""


@contextmanager
def hangup_is(handler: Callable[..., Any] | signal.Handlers) -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_ends_the_service_but_not_under_nohup() -> None:
    with hangup_is(signal.SIG_DFL):
        assert ending_signals() == (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with hangup_is(signal.SIG_IGN):
        assert ending_signals() == (signal.SIGTERM, signal.SIGINT)


def started(command: str, name: str) -> subprocess.CompletedProcess[str]:
    program = SENDS_ITSELF_A_SIGNAL_WHILE_IT_IMPORTS.format(command=command, signal=name)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_before_the_service_is_there_ends_it_with_0_and_a_line(name: str) -> None:
    ended = started("serve", name)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == f"dit serve: ended by {name} before it was started\n"


def test_other_commands_end_by_the_signal_as_any_program_does() -> None:
    assert started("info", "SIGTERM").returncode == -signal.SIGTERM
