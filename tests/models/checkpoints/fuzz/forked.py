"""Work in a forked copy of this process: what it breaks, takes or leaves behind is its own. And the conversion so.

A conversion's child process imports torch anew, which takes seconds; a fork has it already. It runs the child's own
`main` with a bound on its memory, and its output is read as the real one's is.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOM_BYTES = 3 << 30  # of address space beyond this process's own


@dataclass(slots=True)
class Forks:
    """What the forks of one round took and left.

    Attributes:
        peak_bytes: the most memory that one had, this process's own included.
    """

    peak_bytes: int = 0

    def run(self, work: Callable[[], int]) -> tuple[int, str, str]:
        """Return the status of a forked copy that does `work`, what it printed, and its errors."""
        paper = partial(tempfile.TemporaryFile, "w+", encoding="utf-8")
        with paper() as out, paper() as errors:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer Pythons warn of threads: the copy starts none and uses none
                pid = os.fork()
            if pid == 0:
                _work_and_leave(work, out, errors)
            try:
                _, status, used = os.wait4(pid, 0)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            self.peak_bytes = max(self.peak_bytes, used.ru_maxrss * 1024)
            out.seek(0)
            errors.seek(0)
            return os.waitstatus_to_exitcode(status), out.read(), errors.read()

    def convert(self, command: Sequence[str], **given: Any) -> subprocess.CompletedProcess[str]:
        """Do what `subprocess.run` does with the command of a conversion."""
        from dit_serve.models.checkpoints.pickles import unpickle

        arguments = list(command[command.index("dit_serve.models.checkpoints.pickles.unpickle") + 1 :])
        return subprocess.CompletedProcess(command, *self.run(lambda: unpickle.main(arguments)))


def _work_and_leave(work: Callable[[], int], out: Any, errors: Any) -> None:
    status = 1
    with suppress(BaseException):
        signal.alarm(0)
        warnings.simplefilter("default")  # as in a process of its own, not as in tests
        sys.stdout, sys.stderr = out, errors
        torch.set_num_threads(1)  # OpenMP's threads are not in the copy
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
        out.flush()
        errors.flush()
    os._exit(status)
