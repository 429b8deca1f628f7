"""Clients as the chaos measurements need them: each keeps the books that the accounting is checked against."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.accounting import Seen, account
from benchmarks.client import Answer, NoAnswer, leave, request_bytes, send
from benchmarks.report import Goal
from tests.service.running import Line, Running

Body = Mapping[str, object]


@dataclass(slots=True)
class Clients:
    """All clients of one server, and what each saw."""

    server: Running
    seen: list[Seen] = field(default_factory=list)
    is_over: bool = False  # whether those that ask again and again are to stop

    async def ask(self, body: Body, accept: str = "image/png") -> Seen:
        """One client that stays to the end, of a stream of events too; the status is 0 if none came."""
        identity, message = _request(body, accept)
        began, answer = time.monotonic(), None
        with contextlib.suppress(NoAnswer):
            answer = await send(self.server.port, message)
        images, status = int(str(body.get("n", 1))), _meaning(answer) if answer else 0
        seconds = time.monotonic() - began
        return self.note(Seen(identity, status, images=images, seconds=seconds, answer=answer))

    async def ask_and_leave(self, body: Body, after_seconds: float, *, is_abrupt: bool) -> Seen:
        """One client that goes away, unless its answer has begun by then."""
        identity, message = _request(body, "image/png")
        came = await leave(self.server.port, message, after_seconds, is_abrupt=is_abrupt)
        return self.note(Seen(identity, int(came.split(b" ", 2)[1]) if came else 0, has_left=not came))

    def note(self, seen: Seen) -> Seen:
        self.seen.append(seen)
        return seen

    async def check(self) -> Goal:
        """R9 between these clients and the server's log, once it has written its last line on them."""
        wanted = {each.request_id for each in self.seen if not each.has_left}
        find = self.server.find
        async with asyncio.timeout(60):
            while not (
                wanted <= {line["request_id"] for line in find("request")}
                and {line["job_id"] for line in find("job_started")} <= {line["job_id"] for line in find("job_end")}
            ):
                await asyncio.sleep(0.05)
        return account(self.server.seen, self.seen).goal()


def step_seconds(server: Running, since: int = 0) -> float:
    """Median seconds of a step in the jobs that were completed from line number `since` of the log on."""
    ends = [line for line in server.find("job_end", since) if line["outcome"] == "completed"]
    return float(statistics.median(line["denoise_seconds"] / line["steps"] for line in ends))


def logged_at(line: Line) -> float:
    """Seconds since the epoch at which a line of the log was written."""
    return datetime.fromisoformat(line["time"]).timestamp()


def _request(body: Body, accept: str) -> tuple[str, bytes]:
    identity = f"chaos-{random.getrandbits(64):016x}"
    headers = {"Accept": accept, "X-Request-Id": identity}
    return identity, request_bytes("POST", "/generate", json.dumps(body).encode(), headers)


def _meaning(answer: Answer) -> int:
    """The status of an answer: of a stream what its last event means, 0 if it ended without."""
    if not (events := answer.events()):
        return answer.status
    return 200 if "completed" in events else int(events.get("failed", {"status": 0})["status"])
