"""Sections' processes as they are seen from outside: started side by side, cut at their limit, read. Knows no torch.

Whatever ends this process ends its sections too: each reads a pipe whose other end is here (`end_with_parent`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.sections import Outcome, Row, Section

ROOT = Path(__file__).parents[2]
HERE = "section-here"  # says that a process is one section's
PAUSE_SECONDS = 0.1  # between two looks at what runs
LAST_WORDS_SECONDS = 1.0  # in which a section that is cut logs where it is
LOG_BYTES = 1 << 20  # of a section's log that are kept, the last ones
Ended = tuple[Section, Outcome, dict[str, Any]]  # what became of a section, and what its process said of the machine


@dataclass(frozen=True, slots=True)
class Running:
    """A section's process that was started."""

    section: Section
    process: subprocess.Popen[bytes]
    rows: Path
    log: Path
    began: float


def side_by_side(sections: Sequence[Section], device: str, work: Path, limit: float) -> Iterator[Ended]:
    """Yield each of the sections as it ends, all started at once; those that run after so many seconds are cut."""
    due = time.monotonic() + limit
    for section in (each for each in sections if is_idle(each, device)):
        yield section, Outcome(section.title, "not on this device", 0.0, []), {}
    running: list[Running] = []
    try:
        for section in (each for each in sections if not is_idle(each, device)):
            running.append(start(section, device, work))
        while running:
            is_over = time.monotonic() >= due
            late = [one for one in running if one.process.poll() is None]
            if is_over and late:
                ask_where(late)
            for one in [one for one in running if is_over or one not in late]:
                status = f"cut: its time was over after {max(limit, 0):.0f} s" if one in late else why_it_ended(one)
                end(one)
                running.remove(one)
                yield told_by(one, status)
            time.sleep(PAUSE_SECONDS if running else 0)
    finally:
        for one in running:
            end(one)


def is_idle(section: Section, device: str) -> bool:
    return section.needs_card and device == "cpu"


def start(section: Section, device: str, work: Path) -> Running:
    """Start a section's process, in a group of its own."""
    rows, log = work / f"{section.name}.rows", work / f"{section.name}.log"
    child = [sys.executable, "-m", "benchmarks.gpu", HERE, section.name, device, str(work), str(rows), str(time.time())]
    where = environment(device, work)
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            child, cwd=ROOT, env=where, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    return Running(section, process, rows, log, time.monotonic())


def end_with_parent() -> None:
    """In a section's process: kill it and all that it started as soon as the process that started it is gone."""

    def follow() -> None:
        os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()


def ask_where(running: Sequence[Running]) -> None:
    """Let processes that are to be cut log where they are."""
    for one in running:
        one.process.send_signal(signal.SIGUSR1)
    due = time.monotonic() + LAST_WORDS_SECONDS
    for one in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(max(due - time.monotonic(), 0))


def why_it_ended(one: Running) -> str:
    """Return "done", or that a process failed and its error, the log's last line."""
    code = one.process.returncode
    last = one.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][:200]
    return "done" if code == 0 else f"failed: {last or f'exit status {code}'}"


def told_by(one: Running, status: str) -> Ended:
    """Return what a process that has ended left behind."""
    found, took = read(one.rows), time.monotonic() - one.began
    about = found.pop(0)["machine"] if found else {}
    return one.section, Outcome(one.section.title, status, took, found), about


def end(one: Running) -> None:
    """Kill a process, if it runs, and all that it started, compilers for one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(one.process.pid, signal.SIGKILL)
    one.process.wait()
    if one.process.stdin is not None:
        one.process.stdin.close()


def environment(device: str, work: Path) -> dict[str, str]:
    """Return a section's environment: no network, compiled code kept from one section to the next, Triton's mode.

    Caches that the environment names already stay: they keep what is compiled from one run to the next.
    """
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"), "TRITON_CACHE_DIR": str(work / "triton")}
    interpreted = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    return {**caches, **os.environ, "HF_HUB_OFFLINE": "1", **interpreted}


def read(path: Path) -> list[Row]:
    """Return the rows that were written whole."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def end_of(path: Path) -> str:
    """Return the end of a log; nothing if there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(log.seek(0, os.SEEK_END) - LOG_BYTES, 0))
        return log.read().decode(errors="replace")
